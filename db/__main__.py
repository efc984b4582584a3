"""`python -m db`: bring the schema up to date; harmless when repeated, or done by two at once."""

import sys

from sqlalchemy.exc import SQLAlchemyError

from db.session import MigrationError, migrate


def main() -> int:
    try:
        migrate()
    except MigrationError as error:
        sys.stderr.write(f"{error}\n")
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).splitlines()[0]
        sys.stderr.write(f"The database cannot be used: {said}. Check STUDIO_DATABASE_URL.\n")
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
