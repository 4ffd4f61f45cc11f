"""Sound files of every kind that is read, small ones."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from datetime import UTC, datetime

import pyarrow
from pyarrow import parquet

from tests.images import make_images

_OWN = {
    "caption": "A car", "captions": ["Two", ["web", "Three"]], "tags": ["red", "car"],
    "album": "Street", "category": "day", "metadata": {"iso": 100, "lens": {"mm": 35}},
    "source_url": "https://e.org/p/1", "licence": "CC BY 4.0", "attribution": "Ann",
    "visibility": "private", "taken_at": "2017-03-01T12:33:00+02:00", "camera": "Canon EOS 5D",
    "latitude": 48.1, "longitude": 11.5, "more": [1, None, "x"],
}  # fmt: skip
_TAKEOUT = {
    "title": "IMG_1.jpg", "description": "At the sea", "url": "https://photos.google.com/1",
    "photoTakenTime": {"timestamp": "1488371580", "formatted": "1 Mar 2017"},
    "geoData": {"latitude": 48.1, "longitude": 11.5}, "people": [{"name": "Ann"}],
    "favorited": True, "trashed": False, "geoDataExif": {"latitude": 0.0, "longitude": 0.0},
}  # fmt: skip
_FILES = {
    "Photos from 2019/IMG_1.jpg": make_images.sound("JPEG"),
    "Photos from 2019/IMG_1.jpg.json": json.dumps(_TAKEOUT).encode(),
    "Trip/metadata.json": json.dumps({"title": "Trip to Rome"}).encode(),
    "Trip/a.png": make_images.sound("PNG"),
    "Trip/a.png.json": json.dumps(_OWN).encode(),
    "b.gif": make_images.sound("GIF"),
    "b.txt": "Ein Hund läuft".encode(),
    "c.mov": b"moov",
}


def images() -> list[bytes]:
    made = [make_images.sound(kind, width=70, height=50) for kind in make_images.FORMATS]
    made += [
        make_images.in_mode(kind, mode)
        for kind, modes in make_images.MODES.items()
        for mode in modes
    ]
    made += [make_images.animation(kind, 3) for kind in ("GIF", "WEBP", "PNG", "TIFF")]
    made.append(make_images.sound("JPEG", progressive=True, exif=_exif()))
    made.append(make_images.sound("TIFF", compression="tiff_lzw"))
    made.append(make_images.sound("TIFF", compression="jpeg"))
    made.append(make_images.sound("WEBP", lossless=True, exif=_exif()))
    made.append(make_images.sound("PNG", exif=_exif()))
    return made


def _exif() -> bytes:
    from PIL import Image
    from PIL.ExifTags import GPS, IFD, Base

    exif = Image.Exif()
    exif[Base.Make], exif[Base.Model], exif[Base.Orientation] = "Canon", "Canon EOS 5D", 6
    exif.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = "2017:03:01 12:33:00"
    place: dict[int, object] = {
        GPS.GPSLatitudeRef: "N",
        GPS.GPSLatitude: (48.0, 8.0, 1.5),
        GPS.GPSLongitudeRef: "E",
        GPS.GPSLongitude: (11.0, 30.0, 0.0),
    }
    exif.get_ifd(IFD.GPSInfo).update(place)
    return exif.tobytes()


def delimited() -> list[bytes]:
    return [
        b"url,caption,tags,lat,lon,date\nhttps://e.org/1.jpg,A car,red|car,48.1,11.5,2017-03-01\n"
        b'https://e.org/2.jpg,"Two\nlines, ""quoted""",,,,\n',
        b"path;title;views\r\na.jpg;Hello;3\r\n../b.jpg;;x\r\n",
        b"photo_id\tphoto_image_url\tphoto_description\texif_camera_make\tphoto_location_latitude\n"
        b"abc\thttps://images.unsplash.com/p\tA hill\tCanon\t1.5\n",
        "url\tLängengrad\nhttps://e.org/ä\tß\n".encode("utf-16"),
    ]


def json_lines() -> list[bytes]:
    rows = [
        {"url": "https://e.org/1.jpg", **_OWN},
        {"url": "https://e.org/2.jpg", "caption": ["a", "b"], "tags": "x, y", "n": 1.5},
        {"file_name": "a.jpg", "title": "T"},
    ]
    return [b"\n".join(json.dumps(row).encode() for row in rows) + b"\n"]


def tables_in_parquet() -> list[bytes]:
    n = 40
    table = pyarrow.table(
        {
            "url": [f"https://e.org/{number}" for number in range(n)],
            "tags": [["a", "b"], []] * (n // 2),
            "about": [{"a": 1, "b": None}] * n,
            "seconds": pyarrow.array(range(n), pyarrow.timestamp("s")),
            "day": pyarrow.array(range(n), pyarrow.date32()),
            "caption": pyarrow.array(["one", "two"] * (n // 2)).dictionary_encode(),
            "map": pyarrow.array([[("a", 1)]] * n, pyarrow.map_(pyarrow.string(), pyarrow.int8())),
            "bytes": [b"\xff"] * n,
            "taken": [datetime(2017, 3, 1, tzinfo=UTC)] * n,
        }
    )
    made = []
    for options in (
        {"compression": "snappy"},
        {"compression": "none", "version": "1.0"},
        {"compression": "zstd", "data_page_version": "2.0", "row_group_size": 15},
    ):
        file = io.BytesIO()
        parquet.write_table(table, file, **options)
        made.append(file.getvalue())
    return made


def coco() -> list[bytes]:
    said = {
        "info": {"year": 2017},
        "licenses": [{"id": 1, "name": "BY", "url": "http://creativecommons.org/licenses/by/2.0/"}],
        "categories": [{"id": 7, "name": "car", "supercategory": "vehicle"}],
        "images": [
            {"id": 1, "file_name": "1.jpg", "coco_url": "http://e.org/1.jpg", "license": 1, "h": 3},
            {"id": 2, "file_name": "2.jpg", "flickr_url": "http://e.org/2.jpg", "license": 9},
        ],
        "annotations": [
            {"image_id": 1, "id": 5, "caption": "A car"},
            {"image_id": 1, "id": 6, "category_id": 7, "segmentation": [[1.5, 2, 3, 4]]},
            {"image_id": 2, "id": 7, "caption": "Two"},
        ],
    }
    return [json.dumps(said).encode()]


def open_images() -> list[bytes]:
    return [
        b"ImageID,Subset,OriginalURL,OriginalLandingURL,License,AuthorProfileURL,Author,Title\n"
        b"0a,train,https://e.org/0a.jpg,https://e.org/p,https://creativecommons.org/licenses/by/2.0/,"
        b"https://e.org/ann,Ann,A car\n",
        b"ImageID,Source,LabelName,Confidence\n0a,verification,/m/01,1\n0a,machine,/m/02,0.7\n",
        b"LabelName,DisplayName\n/m/01,Car\n/m/02,Street\n",
        b"/m/01,Car\n/m/02,Street\n",
        b'{"ImageID": "0a", "OriginalURL": "https://e.org/0a.jpg", "Title": "T"}\n{"Title": 1}\n',
        b'{"ImageID": "0a", "LabelName": "/m/01"}\n{"LabelName": ["x"]}\n',
        b'{"LabelName": "/m/01", "DisplayName": "Car"}\n{"DisplayName": {}}\n',
    ]


def urls() -> list[bytes]:
    return [b"https://e.org/1.jpg\n# a comment\n\nhttp://e.org/2.png?x=1\nnone\n"]


def sidecars() -> list[bytes]:
    return [json.dumps(_OWN).encode(), "Ein Hund läuft".encode(), b'{"lat": 1, "lon": 2}']


def takeout() -> list[bytes]:
    return [json.dumps(_TAKEOUT).encode(), json.dumps({"albumData": {"title": "Rome"}}).encode()]


def zips() -> list[bytes]:
    made = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, content in _FILES.items():
                archive.writestr(zipfile.ZipInfo(name), content, method)
        made.append(file.getvalue())
    return made


def tars() -> list[bytes]:
    made = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=form) as archive:
            for name, content in {**_FILES, f"{'long/' * 20}ä.jpg": b"x"}.items():
                info = tarfile.TarInfo(name)
                info.size, info.mtime = len(content), 1_488_371_580
                archive.addfile(info, io.BytesIO(content))
            link = tarfile.TarInfo("link.jpg")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
        made.append(file.getvalue())
    return made


def packed_tars() -> list[bytes]:
    (_, tar, _) = tars()
    return [gzip.compress(tar, mtime=0), bz2.compress(tar), lzma.compress(tar, preset=0)]
