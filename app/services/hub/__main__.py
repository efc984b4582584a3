"""The choices of a hub's dataset as JSON, or why there are none: `python -m app.services.hub NAME REVISION`."""

import json
import sys
from dataclasses import asdict

from app.services import hub
from prolora.errors import DatasetError

if __name__ == "__main__":
    try:
        answer = asdict(hub.choices(sys.argv[1], sys.argv[2]))
    except DatasetError as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)
