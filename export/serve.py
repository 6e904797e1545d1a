"""Serves a download tree on this machine, to try it out; on the web, any static server will do.

python export/serve.py OUT [--port 8000]
"""

import argparse
import functools
import http.server
import json
from pathlib import Path


def main():
    text = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=text)
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--port", type=int, default=8000, help="0: any free one (default: 8000)")
    arguments = parser.parse_args()
    models = json.loads((arguments.out / "index.json").read_text())["models"]
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=arguments.out)
    with http.server.ThreadingHTTPServer(("127.0.0.1", arguments.port), handler) as server:
        for name, versions in models.items():
            for version in versions:
                print(f"http://127.0.0.1:{server.server_port}/{name}/{version}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
