"""What pyproject.toml says."""

import sys
import tomllib


def read():
    """The file of the current folder; nothing where there is none."""
    try:
        with open("pyproject.toml", "rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as error:
        sys.exit(f"error: pyproject.toml: {error}")


def setting(name):
    """A setting of `[tool.corefn]`."""
    return read().get("tool", {}).get("corefn", {}).get(name)


def dependencies():
    """The requirements of `[project]`."""
    return read().get("project", {}).get("dependencies", [])


if __name__ == "__main__":
    print("\n".join(dependencies()))
