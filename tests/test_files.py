"""The store of photos and heads: who may have what, for how long, how much of it, and never on a disk."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest

from app.files import FORGET_AFTER_S, UNCLAIMED_S, VISITOR_PHOTOS, Files, safe_name
from core.errors import LikenessError


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "root", upload_bytes=100, unclaimed_bytes=250, visitor_bytes=300, total_bytes=1000)


def test_an_upload_becomes_the_visitors(files: Files):
    path = files.take_in("me.jpg", b"pixels")
    assert files.read(path) == files.read(str(path))
    stored = files.read(path)
    assert stored and (stored.name, stored.data, stored.media_type) == ("me.jpg", b"pixels", "image/jpeg")
    upload = files.claim(path, "ann")
    assert (upload.name, upload.data, upload.path) == ("me.jpg", b"pixels", path)
    assert files.claim(str(path), "ann") == upload
    assert (files.size_bytes("ann"), files.size_bytes("bob"), files.size_bytes()) == (6, 0, 6)
    files.withdraw(path)
    files.withdraw(path)
    assert files.read(path) is None and files.size_bytes() == 0


def test_paths_are_unguessable_and_nowhere_on_the_disk(files: Files):
    paths = [files.take_in("me.jpg", b"x") for _ in range(50)] + [files.publish("ann", b"x", "me.glb")]
    assert len({path.parent for path in paths}) == len(paths)
    assert all(path.parent.parent == files.root and len(path.parent.name) >= 24 for path in paths)
    assert not files.root.exists()


def test_another_visitors_photo_is_as_good_as_gone(files: Files):
    path = files.take_in("me.jpg", b"pixels")
    files.claim(path, "ann")
    with pytest.raises(LikenessError) as other:
        files.claim(path, "bob")
    files.forget("ann")
    with pytest.raises(LikenessError) as gone:
        files.claim(path, "bob")
    assert str(other.value) == str(gone.value) and "did not arrive whole" in str(gone.value)


def test_a_head_is_no_photo(files: Files):
    with pytest.raises(LikenessError, match="did not arrive whole"):
        files.claim(files.publish("ann", b"head", "me.glb"), "ann")


def test_an_empty_file_arrives_as_it_is(files: Files):
    # That it is no photo is for the core to say.
    assert files.claim(files.take_in("me.jpg", b""), "ann").data == b""


@pytest.mark.parametrize(
    "path",
    [
        "",
        "me.jpg",
        "/etc/passwd",
        "{root}",
        "{root}/me.jpg",
        "{root}/../secret/me.jpg",
        "{root}/{folder}/../../me.jpg",
        "{root}/{folder}/..",
        "{root}/{folder}/",
        "{root}/{folder}/a\0b",
        "{root}/{folder}/a/b",
        "{root}/{folder}/" + "a" * 5000,
        "{root}2/{folder}/me.jpg",
        "http://127.0.0.1/me.jpg",
        "{folder}/me.jpg",
    ],
)
def test_a_path_of_another_form_did_not_come_by_upload(files: Files, path: str):
    ours = files.take_in("me.jpg", b"pixels")
    assert files.covers(ours)
    theirs = path.format(root=files.root, folder=ours.parent.name)
    assert not files.covers(theirs) and files.read(theirs) is None
    with pytest.raises(LikenessError, match="did not come by upload"):
        files.claim(theirs, "ann")


def test_limits_of_uploads(files: Files):
    with pytest.raises(LikenessError, match=r"“big.jpg” is larger"):
        files.take_in("big.jpg", bytes(101))
    assert files.size_bytes() == 0
    first = files.take_in("a.jpg", bytes(100))
    files.take_in("b.jpg", bytes(100))
    with pytest.raises(LikenessError, match=r"“c.jpg” could not be taken in.*Wait a minute"):
        files.take_in("c.jpg", bytes(100))
    assert files.size_bytes() == 200
    # What a visitor has claimed no longer stands in the way of others.
    files.claim(first, "ann")
    files.take_in("c.jpg", bytes(100))
    assert files.size_bytes() == 300


def test_an_upload_on_its_way_counts_and_breaks_off_without_trace(files: Files):
    arrivals = [files.arrive(f"{i}.jpg") for i in range(3)]
    for arrival in arrivals[:2]:
        arrival.add(bytes(60))
        arrival.add(bytes(40))
    assert files.size_bytes() == 200
    with pytest.raises(LikenessError, match="larger"):
        arrivals[0].add(b"x")
    with pytest.raises(LikenessError, match="could not be taken in"):
        arrivals[2].add(bytes(60))
    for arrival in arrivals[1:]:
        arrival.drop()
    assert files.size_bytes() == 100
    path = arrivals[0].finish()
    arrivals[0].drop()
    stored = files.read(path)
    assert stored and stored.data == bytes(100) and files.size_bytes() == 100


def test_the_oldest_heads_of_a_visitor_give_way(files: Files):
    other = files.publish("bob", bytes(300), "b.glb")
    photo = files.take_in("me.jpg", bytes(100))
    files.claim(photo, "ann")
    heads = [files.publish("ann", bytes([i]) * 100, "a.glb") for i in range(5)]
    assert [files.read(head) is not None for head in heads] == [False, False, True, True, True]
    assert files.read(photo) and files.read(other) and files.size_bytes("ann") == 400
    with pytest.raises(LikenessError, match="holds at most"):
        files.publish("ann", bytes(301), "a.glb")
    assert files.read(heads[-1])


def test_a_full_store_refuses_until_somebody_leaves(files: Files):
    for visitor in ("ann", "bob", "cat"):
        files.publish(visitor, bytes(300), "a.glb")
    with pytest.raises(LikenessError, match=r"“d.glb” could not be kept.*Try again"):
        files.publish("dan", bytes(200), "d.glb")
    # Who is there already keeps going, within what is theirs.
    files.publish("cat", bytes(250), "c.glb")
    files.forget("ann")
    files.publish("dan", bytes(200), "d.glb")
    assert files.size_bytes() == 300 + 250 + 200


def test_of_many_photos_the_oldest_goes(files: Files):
    paths = [files.take_in("me.jpg", b"x") for _ in range(VISITOR_PHOTOS + 1)]
    for path in paths:
        files.claim(path, "ann")
    assert [files.read(path) is not None for path in paths] == [False] + [True] * VISITOR_PHOTOS


def test_nothing_outlives_its_time(files: Files):
    now_s = time.monotonic()
    waiting = files.take_in("me.jpg", b"x")
    claimed = files.take_in("me.jpg", b"x")
    files.claim(claimed, "ann")
    head = files.publish("bob", b"x", "a.glb")
    assert files.sweep() == 0 and files.sweep(now_s + UNCLAIMED_S - 1) == 0
    assert files.sweep(now_s + UNCLAIMED_S + 60) == 1
    assert files.read(waiting) is None and files.read(claimed) and files.read(head)
    with pytest.raises(LikenessError, match="waited too long"):
        files.claim(waiting, "ann")
    assert files.sweep(now_s + FORGET_AFTER_S + 60) == 2
    assert files.size_bytes() == 0


def test_leaving_takes_everything_of_one_visitor(files: Files):
    paths = {visitor: files.publish(visitor, b"x", "a.glb") for visitor in ("ann", "bob")}
    photo = files.take_in("me.jpg", b"x")
    files.claim(photo, "ann")
    files.forget("ann")
    files.forget("nobody")
    assert files.read(paths["ann"]) is None and files.read(photo) is None and files.read(paths["bob"])


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("me.jpg", "me.jpg"),
        ("IMG 2026 (1).HEIC", "IMG 2026 (1).HEIC"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ann\\me.png", "me.png"),
        ("портрет.jpg", "портрет.jpg"),
        ("e\u0301te\u0301.jpg", "été.jpg"),
        (".htaccess", "htaccess"),
        ("..", "file"),
        ("", "file"),
        ("???.png", "___.png"),
        ('a"b\r\nSet-Cookie: x.png', "a_b__Set-Cookie_ x.png"),
        ("<img src=x>.png", "_img src_x_.png"),
        ("\u202egpj.exe", "_gpj.exe"),
    ],
)
def test_names(name: str, safe: str):
    assert safe_name(name) == safe


def test_names_of_any_characters_are_paths_of_ours(files: Files):
    draw = random.Random(5)
    for _ in range(500):
        name = "".join(
            chr(draw.choice((draw.randrange(0x110000), draw.randrange(128)))) for _ in range(draw.choice((3, 300)))
        )
        path = files.publish("ann", b"x", name)
        assert files.covers(path), name
        assert len(path.name.encode()) < 200 and path.parent.parent == files.root and path == path.resolve()
        assert not set(path.name) & set('/\\:*?"<>|%&#;\0\r\n') and path.name[0] != "."


@pytest.mark.parametrize("name", ["a.html", "a.svg", "a.js", "a.xml", "a.pdf", "a", "a.jpg.html", "a.css"])
def test_what_could_run_in_a_browser_is_a_download(files: Files, name: str):
    stored = files.read(files.take_in(name, b"<script>"))
    assert stored and stored.media_type == "application/octet-stream"


def test_many_threads(files: Files):
    """Whatever order they come in, no limit is passed and nothing is left over."""
    failures: list[str] = []

    def visit(number: int) -> None:
        draw = random.Random(number)
        for _ in range(100):
            try:
                session = f"visitor {number % 4}"
                path = files.take_in("me.jpg", bytes(draw.randrange(100)) + b"x")
                files.claim(path, session)
                files.publish(session, bytes(draw.randrange(200)), "a.glb")
                files.withdraw(path)
                if draw.random() < 0.3:
                    files.forget(session)
            except LikenessError:
                # Full, or another thread of the same visitor left.
                pass
            except Exception as error:
                failures.append(repr(error))
            if files.size_bytes() > 1000:
                failures.append(f"{files.size_bytes()} bytes")

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for number in range(4):
        files.forget(f"visitor {number}")
    files.sweep(time.monotonic() + UNCLAIMED_S + 60)
    assert files.size_bytes() == 0
