import os
import sys

import corefn


@corefn.function
def own() -> str:
    return f"{os.customized} {sys.path[0]} {sys.argv[1:]}"
