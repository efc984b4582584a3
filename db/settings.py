"""Where things are: read once from the environment (STUDIO_*), with defaults for one machine."""

from functools import cache
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="STUDIO_")

    data: Path = Path("data")  # every file the studio writes
    database_url: str = ""  # empty: SQLite inside `data`
    redis_url: str = ""  # empty: the launcher starts a broker of its own and sets this
    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=7860, ge=1, le=65535)
    allowed_hosts: str = "127.0.0.1,localhost"  # the names a browser may call the page by
    serve_port: int = Field(
        default=7861, ge=1, le=65535
    )  # vLLM, on loopback; the launcher takes any free one unless told
    serve_base: str = "demo"  # the base model that is served; a name of the catalogue or a folder
    serve_key: str = ""  # bearer token between the studio and vLLM; the launcher draws one
    max_upload_mb: int = 2048
    lease_seconds: float = Field(default=60.0, gt=0)  # after which a job whose worker says nothing is another's
    renew_seconds: float = Field(default=10.0, gt=0)  # between two renewals of a lease
    outage_seconds: float = Field(default=600.0, gt=0)  # how long what a worker must write waits for the database

    gpus: int = Field(default=0, ge=0)  # devices that one job may have of a worker; 0: all that it sees
    spare: bool = True  # a worker keeps a child that has loaded torch; false saves its memory on a small machine
    workers: str = ""  # the launcher's, as "0 1 2,3": each with its cards, or cpu; empty: one for each card

    @property
    def sql_url(self) -> str:
        file = URL.create("sqlite", database=str(self.data.resolve() / "studio.db"))
        return self.database_url or file.render_as_string()  # quoted: a folder's name may hold a ? or a %


@cache
def settings() -> Settings:
    return Settings()
