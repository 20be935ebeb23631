"""The packages work where they are unpacked: the tarball in an empty folder, away from the source tree and from LibTorch's cache.

Usage: package_test.py BUILD_FOLDER SOURCE_FOLDER LIBTORCH_FOLDER
LibTorch (450 MB) is left out of the packages made here: the first run finds it by TESSERA_LIBTORCH, the second beside the program, where
links stand for the files of a full install.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

BUILD, SOURCE, LIBTORCH = (pathlib.Path(argument) for argument in sys.argv[1:4])
PROMPT = "a red heart on a white background"
PNG = b"\x89PNG\r\n\x1a\n"


def expect(condition, what):
    if not condition:
        sys.exit(f"FAILED: {what}")


def run(*command, cwd, environment, fails=False):
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    expect((result.returncode != 0) == fails, f"{command} exits with {result.returncode}:\n{result.stdout}{result.stderr}")
    return result.stdout + result.stderr


def clean_environment(home):
    """A user who has set nothing."""
    home.mkdir()
    return {"PATH": os.environ["PATH"], "HOME": str(home), "OMP_WAIT_POLICY": "passive"}


def make_packages(folder, environment):
    """What `make package` makes, but for the component libtorch."""
    for generator, form in (("TGZ", "ARCHIVE"), ("DEB", "DEB")):
        run("cpack", "-G", generator, "--config", BUILD / "CPackConfig.cmake", "-B", folder,
            "-D", "CPACK_COMPONENTS_ALL=program;development", "-D", f"CPACK_{form}_COMPONENT_INSTALL=ON",
            "-D", f"CPACK_COMPONENT_INCLUDE_TOPLEVEL_DIRECTORY={'ON' if generator == 'TGZ' else 'OFF'}",
            cwd=folder, environment=environment)
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.deb"))


def check_deb(deb, environment):
    depends = run("dpkg-deb", "--field", deb, "Depends", cwd=deb.parent, environment=environment)
    for library in ("libc6", "libavcodec", "libsentencepiece", "libpng", "libwebp", "libyaml"):
        expect(library in depends, f"the .deb does not depend on {library}: {depends}")


def unpack(tarball, folder, environment):
    folder.mkdir()
    run("tar", "-xf", tarball, "-C", folder, "--strip-components=1", cwd=folder, environment=environment)
    for path in folder.rglob("*"):
        if path.is_file():
            expect(str(SOURCE).encode() not in path.read_bytes(), f"{path} mentions the source tree")
            expect(str(LIBTORCH).encode() not in path.read_bytes(), f"{path} mentions LibTorch's cache")


def check_program(prefix, work, environment):
    """With LibTorch where the variable says, and beside the program."""
    program = prefix / "bin" / "tessera"
    message = run(program, "--version", cwd=work, environment=environment, fails=True)
    expect("TESSERA_LIBTORCH" in message and message.count("\n") == 1, f"unclear without LibTorch: {message}")
    variable = environment | {"TESSERA_LIBTORCH": str(LIBTORCH)}
    generate = [program, "generate", PROMPT, "--size", "64x64", "--steps", "4", "--seed", "7", "--quiet", "-o"]
    run(*generate, "variable.png", cwd=work, environment=variable)
    for library in [*LIBTORCH.glob("torch/lib/*.so*"), *LIBTORCH.glob("nvidia/*/lib/*.so*")]:
        (prefix / "lib" / "tessera" / library.name).symlink_to(library)
    (work / "linked").symlink_to(program)
    generate[0] = work / "linked"
    run(*generate, "beside.png", cwd=work, environment=environment)
    pictures = [(work / name).read_bytes() for name in ("variable.png", "beside.png")]
    expect(pictures[0].startswith(PNG) and pictures[0] == pictures[1], "the two pictures differ")


def check_library(prefix, work, environment):
    """The example of docs/library.md, built and run as the page says, and nothing but the public interface exported."""
    page = (prefix / "share/doc/tessera/library.md").read_text()
    for language, name in (("cpp", "hearts.cpp"), ("cmake", "CMakeLists.txt")):
        (work / name).write_text(re.search(rf"```{language}\n(.*?)```", page, re.DOTALL)[1])
    run("cmake", "-B", "build", "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}", "-DCMAKE_BUILD_TYPE=Release", cwd=work,
        environment=environment)
    run("cmake", "--build", "build", cwd=work, environment=environment)
    files = run("build/hearts", cwd=work, environment=environment).splitlines()
    expect(files == ["red.png", "blue.png"], f"the example printed {files}")
    for file in files:
        expect((work / file).read_bytes().startswith(PNG), f"{file} is no PNG")
    symbols = run("nm", "-DC", "--defined-only", prefix / "lib" / "libtessera.so", cwd=work, environment=environment)
    own = {name for name in re.findall(r" [A-Z] (tessera::\w+)", symbols)}
    expect(own == {"tessera::api"}, f"libtessera.so exports {own}")


def main():
    with tempfile.TemporaryDirectory() as name:
        temporary = pathlib.Path(name)
        prefix, work, packages = temporary / "a prefix", temporary / "work", temporary / "packages"
        environment = clean_environment(temporary / "home")
        work.mkdir()
        packages.mkdir()
        tarball, deb = make_packages(packages, environment)
        check_deb(deb, environment)
        unpack(tarball, prefix, environment)
        check_program(prefix, work, environment)
        check_library(prefix, work, environment)
    print("packages, program, library: passed")


if __name__ == "__main__":
    main()
