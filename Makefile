# `make` alone tells what there is. The two commands for newcomers are bin/start and bin/test.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help install format lint types imports templates migrations-check deploy-check test nightly fuzz bench check

VENV := .venv/bin

help: ## Tell what there is.
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sort | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 18

install: ## Make .venv, with all that developing needs.
	@bin/_setup requirements-dev.txt

format: install ## Format the code and the templates; mend what can be mended.
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .
	find templates gallery -name '*.html' -exec $(VENV)/djade --target-version 5.2 {} +

lint: install ## Look for mistakes in style and spelling (ruff, codespell).
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/codespell

# The Django plugin reads the settings, and they want to know their servers. None is asked.
types: export DATABASE_URL = postgresql:///none
types: export REDIS_URL = unix:///none
types: export SECRET_KEY = none
types: install ## Check the types (mypy).
	$(VENV)/mypy .

imports: install ## Check that imports run down the rooms (import-linter).
	$(VENV)/lint-imports

templates: install ## Check how the templates are written (djade).
	find templates gallery -name '*.html' -exec $(VENV)/djade --check --target-version 5.2 {} +

migrations-check: install ## Check that no migration is missing.
	$(VENV)/python manage.py makemigrations --check --dry-run

deploy-check: export DEBUG = false
deploy-check: export SECURE = true
deploy-check: export ALLOWED_HOSTS = images.example.org
deploy-check: install ## Check the settings as they are in production.
	SECRET_KEY="$$($(VENV)/python -c 'import secrets; print(secrets.token_urlsafe(50))')" \
		$(VENV)/python manage.py check --deploy --fail-level ERROR

test: ## Run every test.
	bin/test

nightly: install ## Test the promise of nearest() with 10,000 new examples, and compiled graphs.
	PROMISE_EXAMPLES=10000 $(VENV)/python -m pytest tests/embeddings/test_promise.py
	TEST_COMPILED=1 $(VENV)/python -m pytest tests/embeddings/test_gpu.py

fuzz: install ## Read spoiled images, lists and archives for ten minutes, new ones each time.
	$(VENV)/python -m tests.fuzz --seconds 600

bench: install ## Run every benchmark, in its quick form.
	for bench in bench/[a-z]*.py; do $(VENV)/python "$$bench" --quick || exit 1; done

check: lint types imports templates migrations-check deploy-check test ## Everything, as CI does.
