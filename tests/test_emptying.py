from __future__ import annotations

import threading
import time

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from tests.emptying import empty
from tests.rows import make_user


@pytest.mark.django_db(transaction=True)
def test_what_another_process_is_about_to_write_goes_too():
    has_written = threading.Event()

    def write() -> None:
        with transaction.atomic():
            make_user("late")
            has_written.set()
            time.sleep(0.5)
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    assert has_written.wait(60)
    empty()
    writer.join()
    assert not User.objects.exists()
