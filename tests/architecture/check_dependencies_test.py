"""scripts/check_dependencies finds a wrong include and a wrong link, and passes this tree."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "scripts" / "check_dependencies"


def check(root):
    return subprocess.run([sys.executable, SCRIPT, root], capture_output=True, text=True)


def expect(condition, what):
    if not condition:
        sys.exit(f"FAILED: {what}")


def copy_of_tree(target):
    folders = re.findall(r'^    "([a-z]+)":', SCRIPT.read_text(), re.MULTILINE)
    expect(len(folders) > 5, "the table of allowed edges was not found")
    for folder in folders:
        shutil.copytree(ROOT / folder, target / folder,
                        ignore=lambda _, names: [n for n in names if n in ("bundled", "configs")])


def main():
    here = check(ROOT)
    expect(here.returncode == 0, f"the tree has wrong edges:\n{here.stdout}")
    with tempfile.TemporaryDirectory() as name:
        tree = pathlib.Path(name)
        copy_of_tree(tree)
        expect(check(tree).returncode == 0, "a copy of the tree does not pass")
        header = tree / "core" / "error.h"
        header.write_text(header.read_text() + '#include "models/layers.h"\n')
        result = check(tree)
        expect(result.returncode == 1 and "core/ may not include models/" in result.stdout, "an upward include passed")
        shutil.copy(ROOT / "core" / "error.h", header)
        link = tree / "samplers" / "CMakeLists.txt"
        link.write_text(link.read_text().replace("LINK tessera_core", "LINK tessera_core tessera_app"))
        result = check(tree)
        expect(result.returncode == 1 and "samplers/ may not link tessera_app" in result.stdout, "an upward link passed")
    print("3 checks passed")


if __name__ == "__main__":
    main()
