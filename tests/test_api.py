"""The API as a program uses it: the real server, gradio_client and plain HTTP."""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from app import making, sessions
from core import generation, gltf, pipeline
from core.avatar import Avatar
from core.errors import LikenessError
from core.head import load_head
from tests.running_app import ROOT, RunningApp

ASTRONAUT = ROOT / "app/static/examples/astronaut.jpg"

pytestmark = [
    # A real server or browser on two loaded cores: a defect fails twice.
    pytest.mark.flaky(reruns=1),
    pytest.mark.slow,
    # gradio_client leaves its streams to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    with RunningApp(tmp_path_factory.mktemp("api")) as app:
        yield app
        assert app.files == []


@pytest.fixture
def client(server: RunningApp, tmp_path: Path) -> Iterator[Client]:
    with contextlib.closing(Client(server.address, verbose=False, download_files=tmp_path)) as client:
        yield client


@pytest.fixture(scope="module")
def head_of_four(server: RunningApp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A session with a head that nothing changes."""
    folder = tmp_path_factory.mktemp("four")
    with contextlib.closing(Client(server.address, verbose=False, download_files=folder)) as client:
        client.predict(seed=4, api_name="/random_head")
        yield client


def expected(seed: int, attributes: dict[str, float] | None = None, **labels: float) -> bytes:
    """The file of a random head, made here."""
    return gltf.glb_bytes(load_head(), pipeline.reshape(drawn(seed, **labels), attributes or {}))


@functools.cache
def drawn(seed: int, **labels: float) -> Avatar:
    """A random head, made here."""
    return pipeline.generate(seed, labels)


def sentence(call: Any) -> str:
    with pytest.raises(AppError) as raised:
        call()
    return str(raised.value)


def test_the_example_in_the_documentation_runs(server: RunningApp, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs/api.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    names: dict[str, Any] = {}
    monkeypatch.chdir(ROOT)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec("\n".join(blocks).replace("http://127.0.0.1:7860", server.address), names)
    names["client"].close()
    assert names["head"].endswith("head-43.glb")
    assert Path(names["nobody"]).read_bytes() == expected(42, {"weight": -1.0})
    assert Path(names["somebody"]).read_bytes() == expected(41, age=70.0, beard=0.6)
    assert Path(names["head"]).read_bytes() == expected(43)
    assert Path(names["same"]).name == Path(names["older"]).name == "astronaut.glb"
    assert Path(names["same"]).read_bytes() != Path(names["older"]).read_bytes()
    assert "'age +" in said.getvalue() and "'mouth smile +" in said.getvalue()
    assert "photo" in said.getvalue()


def test_the_documentation_names_every_endpoint_and_attribute(client: Client) -> None:
    text = (ROOT / "docs/api.md").read_text("utf-8")
    described = client.view_api(return_format="dict")
    assert isinstance(described, dict)
    endpoints = described["named_endpoints"]
    assert set(endpoints) == set(re.findall(r"`(/[a-z_]+)`", text)) - {""}
    assert not described["unnamed_endpoints"]
    for name, endpoint in endpoints.items():
        assert endpoint["description"], name
    types = {p["parameter_name"]: p["python_type"]["type"] for p in endpoints["/reconstruct"]["parameters"]}
    assert {name for name, kind in types.items() if "filepath" in kind} == {"photo", "left", "right"}
    assert set(types) - {"photo", "left", "right"} == {"detail"} and types["detail"] == "bool"
    assert endpoints["/random_head"]["returns"][0]["python_type"]["type"] == "filepath"
    assert all(f"`{name}`" in text for name in (*load_head().attribute_names, *generation.TRAITS))
    assert f"it is {generation.TRUNCATION} where" in text


def test_a_photo_becomes_a_head_with_its_stages_told(client: Client) -> None:
    job = client.submit(photo=handle_file(ASTRONAUT), api_name="/reconstruct")
    answers = list(job)
    (head, report) = answers[-1]
    assert Path(head).read_bytes()[:4] == b"glTF"
    assert Path(head).name == "astronaut.glb"
    assert 0.5 < report["confidence"] <= 1
    assert {"read", "detect", "landmarks", "fit", "texture", "export", "total"} <= set(report["seconds"])
    fractions = [answer["fraction"] for _, answer in answers[:-1] if answer.get("fraction") is not None]
    assert fractions == sorted(fractions) and len(set(fractions)) > 4
    assert all(file is None for file, _ in answers[:-1])


@pytest.fixture(scope="module")
def detailing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A session of a server that adds detail, as servers do unless they are told not to."""
    folder = tmp_path_factory.mktemp("detailing")
    with RunningApp(folder, LIKENESS_DETAIL="1") as app:
        with contextlib.closing(Client(app.address, verbose=False, download_files=folder)) as client:
            yield client


def test_a_head_comes_first_and_then_with_its_detail(detailing: Client) -> None:
    def drawn_there(seed: int, **options: bool) -> list[tuple[bytes, bool]]:
        answers = list(detailing.submit(seed=seed, **options, api_name="/random_head"))
        # The last answer is a head, and it is named after its seed.
        file, _ = answers[-1]
        assert file is not None and Path(file).name == f"head-{seed}.glb"
        return [(Path(file).read_bytes(), report["detailed"]) for file, report in answers if file is not None]

    # Who wants none gets none.
    assert drawn_there(6, detail=False) == [(expected(6), False)]
    fine = making.detail(drawn(5), lambda *_: None)
    assert drawn_there(5) == [(expected(5), False), (gltf.glb_bytes(load_head(), fine), True)]
    # What comes later has it too, and what has it is not made again.
    shaped, report = detailing.predict(attributes={"age": 1.0}, api_name="/reshape")
    assert Path(shaped).read_bytes() == gltf.glb_bytes(load_head(), pipeline.reshape(fine, {"age": 1.0}))
    seconds = report["seconds"]
    assert seconds["detail"] == pytest.approx(seconds["wrinkles"] + seconds["repack"], abs=0.01)
    assert drawn_there(5, detail=False) == [(gltf.glb_bytes(load_head(), fine), True)]


@pytest.mark.skipif(not (ROOT / "assets/reflectance.safetensors").is_file(), reason="the weights are not here")
def test_a_photos_head_comes_first_and_then_with_its_detail(detailing: Client) -> None:
    answers = list(detailing.submit(photo=handle_file(ASTRONAUT), api_name="/reconstruct"))
    heads = [report for file, report in answers if file is not None]
    assert [report["detailed"] for report in heads] == [False, True]
    seconds = heads[1]["seconds"]
    assert {"reflectance", "relief", "wrinkles", "repack", "detail", "total"} <= set(seconds)
    assert heads[0]["seconds"].items() <= seconds.items()


def test_words_change_a_head_whatever_their_order_and_are_taken_back(client: Client) -> None:
    def edit(**arguments: Any) -> tuple[bytes, dict[str, Any]]:
        head, report = client.predict(**arguments, api_name="/edit")
        assert Path(head).name == "head-4.glb"
        return Path(head).read_bytes(), report

    assert "no head here" in sentence(lambda: client.predict(prompt="older", api_name="/edit"))
    client.predict(seed=4, api_name="/random_head")
    typed, report = edit(prompt="older, smiling, pikachu")
    assert report["clauses"] == [{"text": text, "strength": 1.0} for text in ("older", "smiling")]
    amounts = {moved["name"]: moved["amount"] for moved in report["moved"]}
    assert amounts["age_years"] > 5 and amounts["mouthSmile"] > 0.3
    (remark,) = report["remarks"]
    assert "pikachu" in remark
    assert edit(prompt=["smiling", ["older", 1.0]])[0] == typed
    half, report = edit(prompt=["smiling", "older"], strength=0.5)
    assert half != typed and [clause["strength"] for clause in report["clauses"]] == [0.5, 0.5]
    shaped, _ = client.predict(attributes={"weight": 1.0}, api_name="/reshape")
    assert Path(shaped).read_bytes() != half
    # Undone step by step, or taken back at once.
    undone, _ = client.predict(api_name="/undo")
    assert Path(undone).read_bytes() == half
    assert edit(prompt=[])[0] == expected(4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"prompt": ""}, "no words"),
        ({"prompt": 5}, "A text or a list was expected"),
        ({"prompt": "pikachu"}, "I don't know 'pikachu'"),
        ({"prompt": "x" * 10_000}, "10,000 characters"),
        ({"prompt": [["older", "much"]]}, "A number was expected"),
        ({"prompt": ["older", 7]}, "expected as a text"),
        ({"prompt": "older", "strength": 7}, "from -1 to 1.5"),
        ({"prompt": "older", "keep_identity": -1}, "from 0 to 1"),
        ({"prompt": "older", "locks": "skin"}, "A list was expected"),
        ({"prompt": "older", "locks": ["hat"]}, "hat"),
        ({"prompt": "older", "method": "magic"}, "magic"),
        ({"prompt": "older", "model": "ViT-B-32:/etc/passwd"}, "model:pretrained"),
    ],
)
def test_words_that_mean_nothing_are_a_sentence(head_of_four: Client, arguments: dict[str, Any], said: str) -> None:
    assert said in sentence(lambda: head_of_four.predict(**arguments, api_name="/edit"))


def test_a_head_is_shaped_and_the_history_leads_back(client: Client) -> None:
    def step(name: str, **arguments: Any) -> tuple[bytes, dict[str, float]]:
        head, report = client.predict(**arguments, api_name=name)
        return Path(head).read_bytes(), report["attributes"]

    assert step("/random_head", seed=3) == (expected(3), {})
    assert step("/reshape", attributes={"age": 1}) == (expected(3, {"age": 1.0}), {"age": 1.0})
    assert step("/reshape", attributes={"nose_width": -2.0}) == (
        expected(3, {"nose_width": -2.0}),
        {"nose_width": -2.0},
    )
    assert step("/undo") == (expected(3, {"age": 1.0}), {"age": 1.0})
    assert step("/redo")[1] == {"nose_width": -2.0}
    assert step("/restore") == (expected(3), {})
    assert client.predict(api_name="/cancel") is False


def test_faces_are_those_of_the_heads_that_would_be_made(client: Client) -> None:
    job = client.submit(seed=7, count=2, labels={"age": 70.0}, truncation=0.5, api_name="/faces")
    faces = list(job)[-1]
    assert [face["seed"] for face in faces] == [7, 8]
    wishes = [generation.Wish(seed, generation.labels_from({"age": 70.0}), 0.5) for seed in (7, 8)]
    for face, pixels in zip(faces, pipeline.thumbnails(wishes, making.FACE_SIDE_PX), strict=True):
        kind, data = face["picture"].split(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            difference = np.asarray(picture).astype(float) - pixels.permute(1, 2, 0).numpy()
        # No more than what JPEG costs.
        assert np.abs(difference).mean() < 4
        assert "seventies" in face["text"]
    assert faces[0]["picture"] != faces[1]["picture"]


def bad_files(folder: Path) -> Iterator[Path]:
    """Of every kind that the core refuses, by the sentence that it has for it."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (256, 256, 3), dtype=np.uint8))
    portrait = ASTRONAUT.read_bytes()
    contents = {
        "letter.jpg": b"This is a letter, not a picture." * 40,
        "page.png": b"<!doctype html><html></html>",
        "paper.jpg": b"%PDF-1.7 ...",
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg"></svg>',
        "film.mp4": b"\0\0\0\x18ftypmp42" + bytes(64),
        "truncated.jpg": portrait[: len(portrait) // 3],
        "archive.jpg": b"PK\x03\x04" + bytes(64),
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
        yield folder / name
    noise.save(folder / "noise.png")
    yield folder / "noise.png"
    noise.resize((9, 9)).save(folder / "tiny.png")
    yield folder / "tiny.png"
    Image.new("1", (20_000, 20_000)).save(folder / "huge.png")
    yield folder / "huge.png"
    with Image.open(ASTRONAUT) as image:
        image.resize((64, 64)).save(folder / "thumbnail.png")
        yield folder / "thumbnail.png"


def test_a_bad_photo_is_the_sentence_of_the_core_and_the_head_stays(client: Client, tmp_path: Path) -> None:
    client.predict(seed=3, api_name="/random_head")
    said = {}
    for path in bad_files(tmp_path):
        with pytest.raises(LikenessError) as raised:
            pipeline.reconstruct(path)
        said[path.name] = sentence(lambda path=path: client.predict(photo=handle_file(path), api_name="/reconstruct"))
        assert said[path.name] == str(raised.value), path.name
    assert len(set(said.values())) >= 8
    head, _ = client.predict(attributes={}, api_name="/reshape")
    assert Path(head).read_bytes() == expected(3)


def test_good_photos_of_every_kind_are_taken(client: Client, tmp_path: Path) -> None:
    """Of the kinds that Gradio by itself would refuse or damage."""
    with Image.open(ASTRONAUT) as image:
        image.convert("CMYK").save(tmp_path / "print.jpg", quality=95)
        image.save(tmp_path / "wrong.png", "JPEG")
    for name in ("print.jpg", "wrong.png"):
        head, report = client.predict(photo=handle_file(tmp_path / name), api_name="/reconstruct")
        assert Path(head).read_bytes()[:4] == b"glTF"
        assert (name == "wrong.png") == any(".png" in finding["sentence"] for finding in report["findings"])


@pytest.mark.parametrize(
    ("endpoint", "arguments", "words"),
    [
        ("/random_head", {"seed": -1}, "The seed -1"),
        ("/random_head", {"seed": "seven"}, "whole number"),
        ("/random_head", {"seed": 1, "attributes": {"horns": 1}}, "no attribute 'horns'"),
        ("/random_head", {"seed": 1, "attributes": {"age": 99}}, "from -3 to 3"),
        ("/random_head", {"seed": 1, "attributes": {"age": "old"}}, "A number was expected"),
        ("/random_head", {"seed": 1, "attributes": [1]}, "names with numbers"),
        ("/random_head", {"seed": 1, "labels": {"horns": 1}}, "no trait or label 'horns'"),
        ("/random_head", {"seed": 1, "labels": {"age": 99}}, "from 18 to 85"),
        ("/random_head", {"seed": 1, "truncation": 2}, "from 0, the mean person, to 1"),
        ("/random_head", {"seed": 1, "truncation": "all"}, "A number was expected"),
        ("/faces", {"seed": 1, "count": 10}, "Ask for 1 to 9"),
        ("/faces", {"seed": 1, "count": 0}, "Ask for 1 to 9"),
        ("/faces", {"seed": -1, "count": 1}, "The seed -1"),
        ("/reshape", {"attributes": {"age": 1}}, sessions.GONE),
        ("/undo", {}, sessions.GONE),
        ("/redo", {}, sessions.GONE),
        ("/restore", {}, sessions.GONE),
        ("/random_head", {"seed": 1, "detail": "much"}, "True or false was expected"),
        ("/reconstruct", {"photo": None}, "A photo was expected"),
    ],
)
def test_a_bad_argument_is_a_sentence(client: Client, endpoint: str, arguments: dict[str, Any], words: str) -> None:
    said = sentence(lambda: client.predict(**arguments, api_name=endpoint))
    assert words in said
    assert "Traceback" not in said and "verbose error" not in said


def test_sessions_do_not_meet(server: RunningApp, client: Client, tmp_path: Path) -> None:
    with contextlib.closing(Client(server.address, verbose=False, download_files=tmp_path)) as other:
        client.predict(seed=10, api_name="/random_head")
        other.predict(seed=11, api_name="/random_head")
        for who, seed in ((client, 10), (other, 11)):
            head, _ = who.predict(attributes={"age": 1}, api_name="/reshape")
            assert Path(head).read_bytes() == expected(seed, {"age": 1.0})


def call(server: RunningApp, endpoint: str, data: list[Any], **more: Any) -> tuple[str, Any]:
    """As curl would: the last event and its data."""
    url = f"{server.address}/gradio_api/call/{endpoint}"
    started = httpx.post(url, json={"data": data, **more})
    if started.status_code != 200:
        return "refused", started.json()
    lines = httpx.get(f"{url}/{started.json()['event_id']}", timeout=120).text.splitlines()
    events = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    payloads = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    return events[-1], payloads[-1]


def test_plain_http_does_the_same(server: RunningApp) -> None:
    uploaded = httpx.post(f"{server.address}/gradio_api/upload", files={"files": ("ada.jpg", ASTRONAUT.read_bytes())})
    (path,) = uploaded.json()
    assert not Path(path).exists()
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    event, (head, report) = call(server, "reconstruct", [file, None, None, True], session_hash="nobody-can-guess")
    assert event == "complete" and report["name"] == "ada"
    data = httpx.get(head["url"]).content
    assert data[:4] == b"glTF"
    event, (head, _) = call(server, "reshape", [{"age": 1}], session_hash="nobody-can-guess")
    assert event == "complete"
    assert httpx.get(head["url"]).content != data
    # Somebody else has neither the head nor the photo.
    assert call(server, "reshape", [{"age": 1}], session_hash="somebody-else")[0] == "error"
    assert call(server, "reconstruct", [file, None, None, True], session_hash="somebody-else")[0] == "error"


@pytest.mark.parametrize("path", ["/etc/hostname", "app.py", "https://example.com/face.jpg", "../../etc/passwd"])
def test_a_path_is_no_way_to_other_files(server: RunningApp, path: str) -> None:
    file = {"path": path, "url": path, "meta": {"_type": "gradio.FileData"}}
    event, data = call(server, "reconstruct", [file, None, None, True])
    assert event in ("refused", "error")
    assert "upload" in json.dumps(data)
