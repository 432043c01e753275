"""The store of files: what is found, whose it is, and when it goes."""

import errno
import os
import pickle
import stat
import threading
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobwire.exceptions import JobwireError
from jobwire.protocol.files import clean_name
from jobwire.server import files
from jobwire.server.files import FileNotAllowedError, FileStore, media_type


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[FileStore]:
    store = FileStore(tmp_path / "files", max_file_size=None, ttl=60.0, clock=clock)
    yield store
    store.close()
    assert list((tmp_path / "files").glob("*")) == []


def put(store: FileStore, name: str, text: str = "x", *, owner: str | None = None) -> str:
    path, target = store.create(name, owner=owner)
    target.write_text(text)
    return path


# -- names ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "clean"),
    [
        ("a.txt", "a.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a b.txt", "a b.txt"),
        (".bashrc", "bashrc"),
        ("..", "file"),
        ("", "file"),
        (" . .x ", "x"),
        ("a\x00b\nc\x7fd\u2028e.txt", "abcde.txt"),
        ("50% #1?.txt", "50% #1?.txt"),
        ("sch\u00f6n \u6587\u4ef6 \U0001f468\u200d\U0001f469.png",) * 2,
        ("\udc80.txt", "txt"),
        ("x" * 300 + ".tar.gz", "x" * 197 + ".gz"),
        ("\u6587" * 100 + ".png", "\u6587" * 65 + ".png"),
        ("x." + "y" * 300, "x." + "y" * 198),
    ],
)
def test_names(given: str, clean: str) -> None:
    assert clean_name(given) == clean


names = st.text(st.characters(), max_size=300) | st.text("./\\ \x00a\u6587%#", max_size=300)


@given(names)
@example("a" * 190 + "." + "b" * 40)
@example("a" * 198 + " . b")
def test_any_name_becomes_harmless_and_stays(name: str) -> None:
    clean = clean_name(name)
    assert 0 < len(clean.encode()) <= 200
    assert not clean.startswith(".")
    assert not set(clean) & set("/\\")
    assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in clean)
    assert clean_name(clean) == clean


@given(st.text("abc\u6587", min_size=1, max_size=300), st.sampled_from([".png", ".\u6587", ".x"]))
def test_the_suffix_is_kept(stem: str, suffix: str) -> None:
    assert clean_name(stem + suffix).endswith(suffix)


def test_media_types() -> None:
    assert media_type("a.png") == "image/png"
    assert media_type("data:text/html,x.txt") == "text/plain"
    assert media_type("a.tgz") is None
    assert media_type("a") is None


# -- looking up -----------------------------------------------------------------


def test_a_file_is_found_by_its_path(store: FileStore) -> None:
    path, target = store.create("a b.txt", owner=None)
    token, _, name = path.partition("/")
    assert name == target.name == "a b.txt"
    assert len(token) >= 32
    assert store.open(path, owner=None) == target
    assert stat.S_IMODE(target.parent.stat().st_mode) == 0o700


def test_two_files_of_one_name_are_apart(store: FileStore) -> None:
    first, second = put(store, "a", "1"), put(store, "a", "2")
    assert store.open(first, owner=None).read_text() == "1"
    assert store.open(second, owner=None).read_text() == "2"


def test_harmless_variants_of_a_path_are_the_same_file(store: FileStore) -> None:
    for name in ("a b.txt", "50%20#1?x.txt", "100%.txt", "#x", "%41.txt", "sch\u00f6n"):
        path = put(store, name)
        target = store.open(path, owner=None)
        variants = {
            f"/{path}",
            quote(path),  # encoded once too often
            quote(path, safe=""),
            unquote(path),  # sent as it is, and decoded on the way
            unquote(path.partition("#")[0].partition("?")[0]),
        }
        for variant in variants:
            assert store.open(variant, owner=None) == target, variant


@pytest.mark.parametrize(
    "change",
    [
        "{token}",
        "{token}/",
        "{token}/b.txt",
        "{token}/a.txt/",
        "{token}/../{token}/a.txt",
        "{token}/./a.txt",
        "{token}//a.txt",
        "//{token}/a.txt",
        "{token}/a.txt\x00",
        "{token}\\a.txt",
        "{token}/%2e%2e/a.txt",
        "{real}",
        "file://{real}",
        "http://example.org/{token}/a.txt",
    ],
)
def test_anything_else_is_no_file(store: FileStore, change: str) -> None:
    path = put(store, "a.txt")
    real = store.open(path, owner=None)
    with pytest.raises(FileNotAllowedError, match="File not allowed: "):
        store.open(change.format(token=path.partition("/")[0], real=real), owner=None)


@given(st.text() | st.lists(st.sampled_from(["..", ".", "etc", "", "%2e%2e"])).map("/".join))
@example("/etc/passwd")
@example("")
def test_no_path_leads_out(path: str) -> None:
    store = FileStore(Path("/"), max_file_size=None, ttl=60.0)
    with pytest.raises(FileNotAllowedError) as caught:
        store.open(path, owner=None)
    assert caught.value.path == path


def test_the_error_does_not_tell_where_files_lie(store: FileStore, tmp_path: Path) -> None:
    path = put(store, "a.txt", owner="ada")
    with pytest.raises(FileNotAllowedError) as caught:
        store.open(path, owner="bob")
    assert str(caught.value) == f"File not allowed: {path}."
    assert str(tmp_path) not in str(caught.value)
    assert isinstance(caught.value, JobwireError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(("owner", "other"), [("ada", "bob"), ("ada", None), (None, "ada")])
def test_a_file_is_for_its_owner(store: FileStore, owner: str | None, other: str | None) -> None:
    path = put(store, "a.txt", owner=owner)
    assert store.open(path, owner=owner).read_text() == "x"
    with pytest.raises(FileNotAllowedError):
        store.open(path, owner=other)


# -- publishing -----------------------------------------------------------------


def test_publishing_copies(store: FileStore, tmp_path: Path) -> None:
    source = tmp_path / "out #1.csv"
    source.write_text("1,2\n")
    data = store.publish(source, owner="ada")
    path = data.pop("path")
    assert data == {
        "url": None,
        "size": 4,
        "orig_name": "out #1.csv",
        "mime_type": "text/csv",
        "is_stream": False,
        "meta": {"_type": "gradio.FileData"},
    }
    source.unlink()
    assert store.open(path, owner="ada").read_text() == "1,2\n"


def test_publishing_follows_links(store: FileStore, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("x")
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "real")
    data = store.publish(link, owner=None)
    target = store.open(data["path"], owner=None)
    assert (data["orig_name"], target.read_text(), target.is_symlink()) == ("link.txt", "x", False)


def test_what_cannot_be_published_is_named(store: FileStore, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError, match=r"directory .*archive"):
        store.publish(tmp_path, owner=None)
    for name in ("nothing", "dangling"):
        with pytest.raises(FileNotFoundError, match=rf"{name}', which does not exist"):
            store.publish(tmp_path / name, owner=None)
    with pytest.raises(OSError, match="no regular file"):
        store.publish(tmp_path / "pipe", owner=None)
    assert not (tmp_path / "files").exists()


def test_a_copy_that_fails_leaves_nothing(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: Path, target: Path) -> None:
        target.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", fail)
    (tmp_path / "a").write_text("x")
    with pytest.raises(OSError, match="No space"):
        store.publish(tmp_path / "a", owner=None)
    assert list((tmp_path / "files").iterdir()) == []


def test_many_threads_publish(store: FileStore, tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_text("x")
    barrier = threading.Barrier(8)

    def work(_: int) -> list[str]:
        barrier.wait()
        paths = [store.publish(source, owner=None)["path"] for _ in range(20)]
        for path in paths[::2]:
            store.retain(path)
            store.release(path)
            store.discard(path)
        store.expire()
        return paths[1::2]

    with ThreadPoolExecutor(8) as pool:
        paths = [path for some in pool.map(work, range(8)) for path in some]
    assert len(set(paths)) == 80
    assert {store.open(path, owner=None).read_text() for path in paths} == {"x"}
    assert len(list((tmp_path / "files").iterdir())) == 80


# -- expiry ---------------------------------------------------------------------


def gone(store: FileStore, path: str) -> bool:
    try:
        store.open(path, owner=None)
    except FileNotAllowedError:
        return True
    return False


def test_an_unused_file_expires(store: FileStore, clock: Clock) -> None:
    assert store.expire() is None
    first = put(store, "a")
    target = store.open(first, owner=None)
    clock.now += 20
    second = put(store, "b")
    assert store.expire() == 40
    clock.now += 40
    assert store.expire() == 20
    assert (gone(store, first), gone(store, second)) == (True, False)
    assert not target.parent.exists()
    clock.now += 20
    assert store.expire() is None
    assert gone(store, second)


def test_a_file_in_use_is_kept(store: FileStore, clock: Clock) -> None:
    path = put(store, "a b")
    store.retain(path)
    store.retain(quote(path))
    clock.now += 1000
    assert store.expire() is None
    store.release(path)
    assert store.expire() is None
    store.release(path)
    assert store.expire() == 60
    clock.now += 59
    store.expire()
    assert not gone(store, path)
    clock.now += 1
    store.expire()
    assert gone(store, path)


def test_a_release_moves_a_file_behind_younger_ones(store: FileStore, clock: Clock) -> None:
    first = put(store, "a")
    clock.now += 10
    second = put(store, "b")
    store.retain(first)
    clock.now += 10
    store.release(first)
    assert store.expire() == 50
    clock.now += 50
    assert store.expire() == 10
    assert (gone(store, first), gone(store, second)) == (False, True)


def test_releasing_too_often_or_too_late_is_harmless(store: FileStore, clock: Clock) -> None:
    path = put(store, "a")
    store.release(path)
    store.retain(path)
    clock.now += 100
    store.expire()
    assert not gone(store, path)
    store.discard(path)
    store.discard(path)
    store.release(path)
    assert gone(store, path)
    assert store.expire() is None
    with pytest.raises(FileNotAllowedError):
        store.retain(path)


# -- where they lie -------------------------------------------------------------


def test_a_private_directory_is_made_at_first_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = FileStore(max_file_size=None, ttl=60.0)
    assert list(tmp_path.iterdir()) == []
    put(store, "a")
    (root,) = tmp_path.iterdir()
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    store.close()
    store.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(JobwireError, match="closed"):
        store.create("b", owner=None)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_forgotten_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = FileStore(max_file_size=None, ttl=60.0)
    put(store, "a")
    assert list(tmp_path.iterdir()) != []
    del store
    assert list(tmp_path.iterdir()) == []


def test_others_files_in_the_directory_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    store = FileStore(tmp_path, max_file_size=None, ttl=60.0)
    put(store, "a")
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@given(names)
def test_every_name_can_be_stored_and_found(name: str) -> None:
    store = FileStore(max_file_size=None, ttl=60.0)
    try:
        path = put(store, name, "text")
        assert store.open(path, owner=None).read_text() == "text"
        assert store.open(unquote(quote(path)), owner=None).read_text() == "text"
    finally:
        store.close()


def test_name_with_many_spaces_costs_nothing() -> None:
    name = "a" + " " * 200_000 + "a"  # looked at once for each space, it would take minutes
    assert clean_name(name) == "a"


def test_room_for_all_files_is_limited(tmp_path: Path) -> None:
    store = FileStore(max_file_size=None, max_size=10, ttl=60)
    source = tmp_path / "a.txt"
    source.write_bytes(b"123456")
    path = store.publish(source, owner=None)["path"]
    with pytest.raises(OSError, match="no more files: 6 of 10 bytes are taken, 6 more") as caught:
        store.publish(source, owner=None)
    assert caught.value.errno == errno.ENOSPC
    store.discard(path)
    store.publish(source, owner=None)
    store.close()


def test_room_is_given_back_when_a_file_expires(tmp_path: Path, clock: Clock) -> None:
    store = FileStore(tmp_path / "files", max_file_size=None, max_size=10, ttl=60, clock=clock)
    for _ in range(3):
        path, _target = store.create("a", owner=None)
        store.reserve(path, 4)
        store.reserve(path, 6)
        with pytest.raises(OSError, match="10 of 10 bytes are taken"):
            store.reserve(path, 1)
        clock.now += 60
        store.expire()
    store.close()


def test_a_file_that_grows_while_it_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes() + b"more")

    monkeypatch.setattr("shutil.copyfile", copy)
    store = FileStore(tmp_path / "files", max_file_size=None, max_size=10, ttl=60)
    source = tmp_path / "a"
    source.write_bytes(b"x" * 8)
    with pytest.raises(OSError, match="no more files"):
        store.publish(source, owner=None)
    source.write_bytes(b"x" * 6)
    assert store.publish(source, owner=None)["size"] == 10
    store.close()


def test_files_without_content_are_limited_too(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_FILES", 3)
    paths = [put(store, "a", "") for _ in range(3)]
    with pytest.raises(OSError, match="no more files than 3") as caught:
        store.create("a", owner=None)
    assert caught.value.errno == errno.ENOSPC
    store.discard(paths[0])
    put(store, "a", "")
