"""Builds the download tree of the published models.

    python export/build.py OUT [--zoo DIR]

    OUT/index.json                  sha256 of every archive, its size, and that of the tar file in it
    OUT/<name>/<version>.tar.gz     SavedModel; the Keras files are in its assets.extra/
    OUT/<name>/<version>            the same file under the address that `hub.load` asks for

Any static web server that is given OUT then serves `hub.load("http://host/<name>/<version>")` and
`deepcosmo.zoo.load("http://host/<name>/<version>")`. A version that is in OUT already is kept: a published
version never changes.
"""

import argparse
import gzip
import json
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

from deepcosmo import export
from deepcosmo._files import write_text
from deepcosmo.zoo import Entry, load, publishing, store
from deepcosmo.zoo.entry import FORMAT, WEIGHTS, sha256


def build(out, root):
    """Adds every model in the zoo at `root` to the download tree `out`; returns the archives made."""
    index_path, made = out / "index.json", []
    index = json.loads(index_path.read_text()) if index_path.exists() else {"format": FORMAT, "models": {}}
    for path in sorted(root.glob("*/model.json")):
        if problems := publishing.audit(path.parent):
            raise SystemExit(f"{path.parent.name} is not fit to publish: {'; '.join(problems)}")
        entry = Entry.read(path.parent)
        versions = index["models"].setdefault(entry.name, {})
        weights = entry.files[WEIGHTS]["sha256"]
        if old := versions.get(str(entry.version)):
            if old["weights_sha256"] != weights:
                raise SystemExit(f"{entry.name} {entry.version} is out with other weights: raise its version")
            print(f"{entry.name} {entry.version}: kept")
            continue
        print(f"{entry.name} {entry.version}: exporting", flush=True)
        archive = out / entry.name / f"{entry.version}.tar.gz"
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as temporary:
            folder = export.save(load(entry.name), Path(temporary, "model"))
            # An optional file that holds a random identifier; without it two builds are alike.
            (folder / "fingerprint.pb").unlink(missing_ok=True)
            extra = folder / store.EXTRA
            extra.mkdir(exist_ok=True)
            for name in ("model.json", "README.md", *entry.files, *publishing.pictures(entry)):
                shutil.copyfile(entry.directory / name, extra / name)
            unpacked = pack(folder, archive)
        served = archive.with_name(str(entry.version))
        served.unlink(missing_ok=True)
        os.link(archive, served)
        versions[str(entry.version)] = {
            "archive": archive.relative_to(out).as_posix(),
            "sha256": sha256(archive),
            "bytes": archive.stat().st_size,
            "unpacked": unpacked,
            "weights_sha256": weights,
        }
        made.append(archive)
    text = json.dumps(index, indent=1, sort_keys=True) + "\n"
    write_text(index_path, text)
    return made


def pack(folder, archive):
    """Makes a tar.gz whose bytes depend on the names and contents of the files only; returns the size of the tar."""
    with open(archive, "wb") as file, gzip.GzipFile("", "wb", mtime=0, fileobj=file) as zipped:
        with tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(folder.rglob("*")):
                member = tarfile.TarInfo(path.relative_to(folder).as_posix())
                if path.is_dir():  # tensorflow_hub makes only the folders that are listed
                    member.type, member.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(member)
                else:
                    member.size, member.mode = path.stat().st_size, 0o644
                    with open(path, "rb") as content:
                        tar.addfile(member, content)
        return zipped.tell()


def main():
    text = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=text)
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--zoo", type=Path, default=Path(__file__).parents[1] / "zoo", help="default: zoo/")
    arguments = parser.parse_args()
    os.environ["DEEPCOSMO_ZOO"] = str(arguments.zoo)
    made = build(arguments.out, arguments.zoo)
    print(f"{len(made)} new archives; check them with `python export/check.py {arguments.out}`")


if __name__ == "__main__":
    main()
