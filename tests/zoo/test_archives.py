"""What a server may not make a user fetch: archives and indices that are not what they say, or too large."""

import gzip
import io
import json
import tarfile
import tracemalloc

import pytest

from deepcosmo import zoo
from deepcosmo.zoo import archives, store

NAME = "small_cosmos"


def archive_with(path, *members):
    """Writes an archive of (name, content or `TarInfo`), and returns what an index tells of it."""
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name, content in members:
            member, content = (
                (content, b"") if isinstance(content, tarfile.TarInfo) else (tarfile.TarInfo(name), content)
            )
            member.name, member.size = name, len(content)
            tar.addfile(member, io.BytesIO(content))
    return {"sha256": zoo.entry.sha256(path), "bytes": path.stat().st_size}


def change_index(tree, name=NAME, version="1", without=(), **record):
    """Changes what the index tells of an archive."""
    index = json.loads((tree / "index.json").read_text())
    known = index["models"][NAME]["1"] | record
    index["models"].setdefault(name, {})[version] = {key: known[key] for key in known if key not in without}
    (tree / "index.json").write_text(json.dumps(index))


def refused(tree, serve, own_cache, match, name=NAME, version=1):
    """Loads what has to be refused, without anything left behind."""
    with pytest.raises(zoo.DamagedFile, match=match):
        zoo.load(f"{serve(tree)}/{name}/{version}")
    assert not [path for path in own_cache.rglob("*") if path.is_file()]
    assert not list(own_cache.parent.rglob("escaped*"))
    assert name not in zoo.list_models()


def test_index_tells_the_sizes(small_tree):
    for versions in json.loads((small_tree / "index.json").read_text())["models"].values():
        archive = (small_tree / versions["1"]["archive"]).read_bytes()
        assert versions["1"]["bytes"] == len(archive)
        assert versions["1"]["unpacked"] == len(gzip.decompress(archive))


def test_index_of_an_earlier_release_tells_none(tree, serve):
    change_index(tree, without=("bytes", "unpacked"))
    model = zoo.load(f"{serve(tree)}/{NAME}/1")
    assert model.count_params() == zoo.info(NAME).parameters


def test_archive_of_another_model_is_refused(tree, serve, own_cache):
    other = json.loads((tree / "index.json").read_text())["models"]["stamps_cosmos"]["1"]
    change_index(tree, **other)
    refused(tree, serve, own_cache, "holds stamps_cosmos version 1, and its index.json promises small_cosmos version 1")


def test_archive_of_another_version_is_refused(tree, serve, own_cache):
    change_index(tree, version="2")
    refused(tree, serve, own_cache, "holds small_cosmos version 1, .* promises small_cosmos version 2", version=2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "../../escaped"}, "'../../escaped' is no model name"),
        (
            {"files": {"../../escaped": {"sha256": "0" * 64, "bytes": 1}}},
            "lists '../../escaped', which is not the name",
        ),
        ({"files": {"config.json": {}}}, "damaged: 'sha256'"),
        ({"version": "1"}, "version must be of type int"),
        ({"metrics": [{"name": "a"}]}, "a metric has no error, reference"),
    ],
)
def test_card_of_an_archive_is_checked(tree, small_zoo, serve, own_cache, change, said):
    card = json.loads((small_zoo / NAME / "model.json").read_text()) | change
    members = [(f"{store.EXTRA}/model.json", json.dumps(card).encode())]
    change_index(tree, **archive_with(tree / NAME / "1.tar.gz", *members))
    refused(tree, serve, own_cache, said)


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped"])
def test_archive_stays_in_its_folder(tree, serve, own_cache, name):
    change_index(tree, **archive_with(tree / NAME / "1.tar.gz", (name, b"no")))
    refused(tree, serve, own_cache, "outside its folder")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_archive_holds_plain_files_only(tree, serve, own_cache, kind):
    member = tarfile.TarInfo()
    member.type, member.linkname = kind, "/tmp"
    change_index(tree, **archive_with(tree / NAME / "1.tar.gz", ("link", member)))
    refused(tree, serve, own_cache, "link in it is no plain file")


def zeros():
    return "zeros", bytes(2**26)


def long_header():
    member = tarfile.TarInfo()
    member.pax_headers = {"comment": "0" * 2**26}
    return "header", member


@pytest.mark.parametrize("bomb", [zeros, long_header])
@pytest.mark.parametrize("declared", [True, False])
def test_small_archive_with_large_content_is_refused(tree, serve, own_cache, monkeypatch, bomb, declared):
    """64 MiB in 64 kB, more than the index tells, or more than is taken if it tells nothing."""
    record = archive_with(tree / NAME / "1.tar.gz", bomb())
    assert record["bytes"] < 1e5
    monkeypatch.setattr(archives, "LARGEST", 2**22)
    change_index(tree, **record, unpacked=2**22, without=() if declared else ("bytes", "unpacked"))
    tracemalloc.start()
    try:
        refused(tree, serve, own_cache, "what it unpacks to is larger than 4194304 bytes")
        assert tracemalloc.get_traced_memory()[1] < 2**25  # the whole is never in memory
    finally:
        tracemalloc.stop()


def test_sparse_file_is_refused(tree, serve, own_cache):
    """1 GiB in 512 bytes, those of an empty map of what is not zero."""
    member = tarfile.TarInfo()
    sparse = {"major": "1", "minor": "0", "name": "zeros", "realsize": str(2**30)}
    member.pax_headers = {f"GNU.sparse.{key}": value for key, value in sparse.items()}
    path = tree / NAME / "1.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        member.name, member.size = "zeros", 512
        tar.addfile(member, io.BytesIO(b"0\n".ljust(512, b"\0")))
    with tarfile.open(path) as tar:
        assert next(iter(tar)).size == 2**30
    change_index(tree, sha256=zoo.entry.sha256(path), bytes=path.stat().st_size)
    refused(tree, serve, own_cache, "zeros in it is no plain file")


def test_archive_larger_than_the_index_tells_is_refused(tree, serve, own_cache):
    change_index(tree, bytes=1000)
    refused(tree, serve, own_cache, "the archive is larger than 1000 bytes")


def test_large_index_is_refused(tree, serve, own_cache):
    with open(tree / "index.json", "a") as file:
        file.write(" " * archives.LARGEST_INDEX)
    refused(tree, serve, own_cache, "index.json is larger than 4194304 bytes")


@pytest.mark.parametrize("record", [{"sha256": None}, {"sha256": "md5:0"}, {"bytes": -1}, {"unpacked": "much"}])
def test_damaged_record_in_an_index(tree, serve, own_cache, record):
    change_index(tree, **record)
    refused(tree, serve, own_cache, "index.json is damaged")


def test_names_in_an_index_are_checked(tree, serve):
    change_index(tree, name="../../escaped")
    with pytest.raises(zoo.ZooError, match="'../../escaped' is no model name"):
        zoo.load(f"{serve(tree)}/{NAME}/1")


@pytest.mark.parametrize("text", ["", "[1]", '{"format": 1, "models": {"small'])
def test_damaged_index(tree, serve, text):
    (tree / "index.json").write_text(text)
    with pytest.raises(zoo.DamagedFile, match="index.json is damaged"):
        zoo.load(f"{serve(tree)}/{NAME}/1")


def test_newer_index(tree, serve):
    index = json.loads((tree / "index.json").read_text())
    (tree / "index.json").write_text(json.dumps(index | {"format": 2}))
    with pytest.raises(zoo.ZooError, match="newer deepcosmo"):
        zoo.load(f"{serve(tree)}/{NAME}/1")
