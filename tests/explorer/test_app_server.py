"""The local server: who may speak to it, what it refuses, and that it answers as the notebook's explorer does."""

import io
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import lvlmscope as lv
from lvlmscope.errors import MissingExtraError, ModelInputError, OutputError
from lvlmscope.explorer import app_server
from lvlmscope.explorer.app_server import app_of, bound, new_token, require_server
from lvlmscope.explorer.app_session import AppSession, packed, unpacked
from lvlmscope.tiny import scene
from tests.support.local_app import served

PORT, TOKEN = 8123, "the-token"
HERE = f"http://127.0.0.1:{PORT}"
PROMPT = "Describe the image."
DEFECT = "interrupted, or a defect: the terminal has the traceback"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n"


@pytest.fixture(scope="module")
def model() -> Any:
    return lv.load("tiny", check=False)


@pytest.fixture
def session(model: Any) -> AppSession:
    return AppSession(model)


def client(session: Any, base: str = HERE, **cookies: str) -> TestClient:
    return TestClient(app_of(session, TOKEN, PORT), base_url=base, cookies=cookies, follow_redirects=False)


@pytest.fixture
def known(session: AppSession) -> TestClient:
    return client(session, **{f"lvlmscope-{PORT}": TOKEN})


def png() -> bytes:
    file = io.BytesIO()
    scene("prior", 3).image.save(file, "PNG")
    return file.getvalue()


def messages(known: TestClient, content: dict[str, Any], image: bytes = b"") -> list[tuple[dict[str, Any], bytes]]:
    """What comes before the answer, and the answer."""
    answer = known.post("/request", content=packed(content, [image]))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    found, rest = [], answer.content
    while not found or "progress" in found[-1][0]:
        end = 4 + int.from_bytes(rest[:4], "little")
        found.append(unpacked(rest[:end]))
        rest = rest[end:]
    return [*found[:-1], (found[-1][0], rest)]


def asked(known: TestClient, content: dict[str, Any], image: bytes = b"") -> tuple[dict[str, Any], bytes]:
    return messages(known, content, image)[-1]


def question(known: TestClient, image: bytes, **changes: Any) -> dict[str, Any]:
    return asked(known, {"id": 5, "kind": "ask", "prompt": PROMPT, "max_new_tokens": 6} | changes, image)[0]


def test_the_token_is_taken_once_and_kept_as_a_cookie(session: AppSession) -> None:
    browser = client(session)
    first = browser.get("/", params={"token": TOKEN})
    assert (first.status_code, first.headers["location"]) == (303, "/")
    assert "HttpOnly" in first.headers["set-cookie"]
    assert "SameSite=strict" in first.headers["set-cookie"]
    page = browser.get("/")
    assert page.status_code == 200
    assert "startApp(document)" in page.text
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert TOKEN not in page.text


@pytest.mark.parametrize(
    "query", ["", "?token=", "?token=wrong", f"?token={TOKEN}x", "?token=%C3%A9", f"?Token={TOKEN}"]
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/request"), ("GET", "/nowhere")])
def test_without_the_token_nothing_is_told(session: AppSession, method: str, path: str, query: str) -> None:
    answer = client(session).request(method, path + query)
    assert answer.status_code == 403
    assert "no token, or another one" in answer.text
    assert "set-cookie" not in answer.headers


def test_a_token_in_the_address_counts_before_a_cookie(session: AppSession) -> None:
    browser = client(session, **{f"lvlmscope-{PORT}": TOKEN})
    assert browser.get("/?token=old").status_code == 403
    assert client(session, **{"lvlmscope-1": TOKEN}).get("/").status_code == 403


@pytest.mark.parametrize(
    "base", ["http://evil.example", f"http://evil.example:{PORT}", "http://127.0.0.1:1", f"http://127.0.0.2:{PORT}"]
)
def test_other_names_are_refused_even_with_the_token(session: AppSession, base: str) -> None:
    answer = client(session, base).get("/", params={"token": TOKEN})
    assert answer.status_code == 403
    assert "another name" in answer.text


def test_other_pages_may_not_ask(known: TestClient) -> None:
    for origin, status in (("http://evil.example", 403), ("null", 403), ("http://127.0.0.1:1", 403), (HERE, 200)):
        answer = known.post("/request", content=packed({"id": 1, "kind": "map"}), headers={"Origin": origin})
        assert answer.status_code == status


def test_the_traces_are_files(known: TestClient, tmp_path: Path) -> None:
    first = question(known, png())["document"]
    asking = {"id": 9, "kind": "file", "side": 0, "document": first["live"]["document"]}
    told, body = asked(known, asking)
    assert told == {"id": 9}
    (tmp_path / "trace.safetensors").write_bytes(body)
    found = lv.load_trace(tmp_path / "trace.safetensors")
    assert found.prompt == PROMPT
    assert found.num_steps == 6
    for side in (1, 2, -1, True, "0", None):
        assert "one that is shown" in asked(known, asking | {"side": side})[0]["error"]
    stack = [{"name": "DLEAF", "values": {"gamma": 0.5}}]
    run = asked(known, {"id": 3, "kind": "run", "stack": stack, "document": asking["document"]})[0]["document"]
    body = asked(known, asking | {"side": 1, "document": run["live"]["document"]})[1]
    (tmp_path / "after.safetensors").write_bytes(body)
    assert lv.load_trace(tmp_path / "after.safetensors").effects[0]["name"] == "DLEAF"


def test_an_answer_and_a_second_one_under_an_intervention(known: TestClient, model: Any) -> None:
    first = question(known, png())["document"]
    own = lv.trace(model, scene("prior", 3).image, PROMPT, max_new_tokens=6)
    assert [each["answer"] for each in first["sides"]] == [own.answer]
    number = first["live"]["document"]
    heat = {"id": 6, "kind": "heat", "side": 0, "quantity": "attention", "word": 0, "document": number}
    told, data = asked(known, heat)
    exact = own.attention[0][..., own.image_keys].sum(-1).numpy()
    assert told == {"id": 6}
    assert np.frombuffer(data, "<f4").reshape(exact.shape) == pytest.approx(exact, rel=1e-5)
    run = {"id": 7, "kind": "run", "document": number, "stack": [{"name": "DLEAF", "values": {"gamma": 0.5}}]}
    second = asked(known, run)[0]["document"]
    changed = lv.trace(model, scene("prior", 3).image, PROMPT, max_new_tokens=6, interventions=lv.DLEAF(gamma=0.5))
    assert [each["answer"] for each in second["sides"]] == [own.answer, changed.answer]
    part = {"id": 8, "kind": "part", "side": 1, "part": "diagnosis", "document": second["live"]["document"]}
    assert asked(known, part)[0]["part"]["diagnosis"]


def test_tokens_are_told_before_the_answer(known: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asking = {"id": 5, "kind": "ask", "prompt": PROMPT, "max_new_tokens": 6}
    told = [each[0] for each in messages(known, asking, png())]
    assert [told[0], told[-2]] == [{"id": 5, "progress": [1, 6]}, {"id": 5, "progress": [6, None]}]
    number = told[-1]["document"]["live"]["document"]
    monkeypatch.setattr("lvlmscope.explorer.requests._SECONDS", 0)  # every one
    run = {"id": 7, "kind": "run", "document": number, "stack": [{"name": "CLVA", "values": {}}]}
    told = [each[0] for each in messages(known, run)]
    assert [each["progress"] for each in told[:-1]] == [[1, 6], [2, 6], [3, 6], [4, 6], [5, 6], [6, 6], [6, None]]
    assert {each["id"] for each in told} == {7}
    heat = {"id": 6, "kind": "heat", "side": 0, "quantity": "attention", "word": 0, "document": number}
    assert len(messages(known, heat)) == 1


def test_a_defect_answers_too(known: TestClient, session: AppSession, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(session, "answer", broken)
    with pytest.raises(ZeroDivisionError):  # in the terminal
        known.post("/request", content=packed({"id": 1, "kind": "ask"}))
    quiet = TestClient(known.app, base_url=HERE, cookies=dict(known.cookies), raise_server_exceptions=False)
    told = unpacked(quiet.post("/request", content=packed({"id": 1, "kind": "ask"})).content)[0]
    assert told == {"id": 1, "error": DEFECT}


@pytest.mark.parametrize("answer", [({"id": 1, "values": float("nan")}, []), ({"id": 1}, [None])])
def test_an_answer_that_cannot_be_sent_is_a_defect(
    known: TestClient, session: AppSession, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    monkeypatch.setattr(session, "answer", lambda *_: answer)
    quiet = TestClient(known.app, base_url=HERE, cookies=dict(known.cookies), raise_server_exceptions=False)
    assert unpacked(quiet.post("/request", content=packed({"id": 1, "kind": "ask"})).content)[0]["error"] == DEFECT


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_what_no_json_holds_is_refused(known: TestClient, number: str) -> None:
    text = f'{{"id": {number}, "kind": "ask"}}'.encode()
    answer = known.post("/request", content=len(text).to_bytes(4, "little") + text)
    assert answer.status_code == 400
    assert f"{number}, which is no number of JSON" in answer.text


def test_a_run_whose_page_is_closed_ends_at_its_next_token(model: Any) -> None:
    session, forwards = AppSession(model), []

    def slow(*_: Any) -> None:
        forwards.append(1)
        time.sleep(0.1)

    hook = model.model.register_forward_hook(slow)
    try:
        with served(session) as address, httpx2.Client() as page:
            page.get(address)
            body = packed({"id": 1, "kind": "ask", "prompt": PROMPT, "max_new_tokens": 60}, [png()])
            with page.stream("POST", address.split("?")[0] + "request", content=body) as answer:
                next(answer.iter_raw())
        assert session._one_run.acquire(timeout=20)
    finally:
        hook.remove()
    assert 0 < len(forwards) < 30


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "map", "low": 0, "high": 10**30},
        {"kind": "links", "low": 0, "high": 10**9},
        {"kind": "map", "low": -1, "high": 2},
        {"kind": "map", "low": 2, "high": 1},
        {"kind": "map", "low": True, "high": 2},
        {"kind": "map", "document": [1]},
        {"kind": "run", "stack": [{"name": "DLEAF", "values": None}]},
        {"kind": "run", "stack": [{"name": ["DLEAF"]}]},
        {"kind": "ask"},
    ],
)
def test_a_request_that_makes_no_sense_is_refused_in_a_sentence(known: TestClient, change: dict[str, Any]) -> None:
    number = question(known, png())["document"]["live"]["document"]
    whole = {
        "id": 3,
        "document": number,
        "side": 0,
        "quantity": "attention",
        "word": 0,
        "low": 0,
        "high": 1,
        "head": None,
    }
    told = asked(known, whole | change)[0]
    assert set(told) == {"id", "error"}
    assert "; expected: " in told["error"]
    assert len(told["error"]) < 300


@pytest.mark.usefixtures("unchecked_shapes")
def test_an_error_of_a_run_is_a_sentence(known: TestClient) -> None:
    number = question(known, png())["document"]["live"]["document"]
    run = {"id": 7, "kind": "run", "document": number, "stack": [{"name": "DLEAF", "values": {"gamma": 3}}]}
    assert asked(known, run)[0] == {
        "id": 7,
        "error": "configure DLEAF: got gamma=3; expected: a number from 0 to 1; choose gamma there.",
    }


@pytest.mark.parametrize(
    ("image", "changes", "match"),
    [
        (EPS, {}, "EPS in the bytes"),
        (b"", {}, "got no image"),
        (b"https://evil.example/a.png", {}, "bytes of no known image format"),
        (png()[:200], {}, "cannot be decoded"),
        (png(), {"prompt": " "}, "empty"),
        (png(), {"prompt": None}, "a prompt of type NoneType"),
        (png(), {"prompt": [{"role": "user", "content": "x"}]}, "a prompt of type list"),
        (png(), {"max_new_tokens": 0}, "max_new_tokens"),
        (png(), {"max_new_tokens": True}, "max_new_tokens=True"),
        (png(), {"max_new_tokens": 10**9}, "max_new_tokens|context|tokens"),
    ],
)
def test_questions_that_cannot_be_asked(
    known: TestClient, session: AppSession, image: bytes, changes: dict[str, Any], match: str
) -> None:
    told = question(known, image, **changes)
    assert set(told) == {"id", "error"}
    assert any(part in told["error"] for part in match.split("|"))
    assert not session._shown


def test_an_image_of_too_many_pixels_is_not_decoded(known: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lvlmscope.traces.encoded_images.MAX_PIXELS", 100)
    assert "112 x 112 pixels" in question(known, png())["error"]


def test_a_body_that_is_too_big_is_not_read_to_its_end(known: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_server, "_BODY", 1000)
    read = []

    def endless() -> Any:
        for number in range(100):
            read.append(number)
            yield bytes(500)

    answer = known.post("/request", content=endless())
    assert answer.status_code == 413
    assert "67,108,864 bytes at most" in answer.text


@pytest.mark.parametrize("body", [b"", b"\0", packed({"id": 1})[:-3], b"\xff\xff\xff\xff{}", b"\2\0\0\0{]"])
def test_a_body_that_is_no_message(known: TestClient, body: bytes) -> None:
    answer = known.post("/request", content=body)
    assert answer.status_code == 400
    assert "ask a model: got a body of" in answer.text
    with pytest.raises(ModelInputError, match="a length, JSON, and the image"):
        unpacked(body)


@pytest.mark.parametrize("content", [[], "x", None, {}, {"kind": "run"}, {"kind": "part", "document": 99}])
def test_messages_of_another_form(session: AppSession, content: Any) -> None:
    told, buffers = session.answer(content)
    assert told["error"]
    assert buffers == []


def test_the_latest_answers_stay_open(session: AppSession) -> None:
    numbers = []
    for _ in range(4):
        content = {"id": 1, "kind": "ask", "prompt": PROMPT, "max_new_tokens": 2}
        numbers.append(session.answer(content, png())[0]["document"]["live"]["document"])
    assert len(set(numbers)) == 4
    heat = {"kind": "heat", "side": 0, "quantity": "attention", "word": 0}
    found = ["error" in session.answer(heat | {"document": number})[0] for number in numbers]
    assert found == [True, False, False, False]


def test_the_end_of_the_server_ends_a_run(session: AppSession) -> None:
    with session.ending_runs():
        session.ended.set()
        told, _ = session.answer({"id": 1, "kind": "ask", "prompt": PROMPT, "max_new_tokens": 40}, png())
    assert "The server has been ended." in told["error"]
    assert "document" in session.answer({"id": 1, "kind": "ask", "prompt": PROMPT, "max_new_tokens": 2}, png())[0]


def test_only_this_computer_can_connect() -> None:
    with bound(0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
        with (
            pytest.raises(OutputError, match=r"serve the explorer: got port \d+ \(Address already in use\)"),
            bound(listening.getsockname()[1]),
        ):
            pass


def test_tokens_are_long_and_never_the_same() -> None:
    assert len(new_token()) >= 43
    assert new_token() != new_token()


def test_without_the_extra_the_command_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingExtraError, match=r'pip install "lvlmscope\[app\]"'):
        require_server()


def test_nothing_of_the_server_is_loaded_before_it_is_used() -> None:
    script = "import sys, lvlmscope.explorer.app_server; print(sorted({'starlette', 'uvicorn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_an_image_of_another_format_is_read(known: TestClient) -> None:
    file = io.BytesIO()
    Image.new("RGB", (112, 112), "teal").save(file, "WEBP")
    assert question(known, file.getvalue(), max_new_tokens=2)["document"]["sides"][0]["words"]
