"""Works on one container through an endpoint, with the Python SDK, adlfs and pandas/pyarrow, and prints what it saw.

The connection string is in FOREBAY_TEST_CONNECTION, the container in FOREBAY_TEST_CONTAINER. `write` fills the
container, `read` only reads it. The last line of stdout is one JSON object: `seen` must be the same at every endpoint,
`verdicts` are the x-forebay headers that passed by.
"""

import hashlib
import io
import json
import os
import sys

import adlfs
import pandas
import pyarrow.dataset
import pyarrow.parquet
from azure.core.exceptions import AzureError
from azure.storage.blob import BlobBlock, BlobServiceClient, ContentSettings, StandardBlobTier

CONNECTION = os.environ["FOREBAY_TEST_CONNECTION"]
CONTAINER = os.environ["FOREBAY_TEST_CONTAINER"]
MIB = 1024 * 1024

seen = {}
verdicts = []


def hook(response):
    verdict = response.http_response.headers.get("x-forebay")
    if verdict is not None:
        verdicts.append(verdict)


def digest(data):
    return f"{len(data)} {hashlib.sha256(data).hexdigest()[:32]}"


def attempt(name, work):
    try:
        seen[name] = work()
    except AzureError as error:
        seen[name] = f"{type(error).__name__} {getattr(error, 'status_code', None)} {getattr(error, 'error_code', None)}"
    except OSError as error:
        seen[name] = type(error).__name__


def some_bytes(length, seed):
    block = hashlib.sha256(str(seed).encode()).digest()
    return (block * (length // len(block) + 1))[:length]


def table(rows):
    return pandas.DataFrame(
        {
            "id": range(rows),
            "name": [f"row {i}" for i in range(rows)],
            "value": [i * 0.5 for i in range(rows)],
            "part": [f"p{i % 3}" for i in range(rows)],
        }
    )


def clients():
    service = BlobServiceClient.from_connection_string(
        CONNECTION, retry_total=0, max_single_get_size=2 * MIB, max_chunk_get_size=MIB, raw_response_hook=hook
    )
    return service.get_container_client(CONTAINER), adlfs.AzureBlobFileSystem(
        connection_string=CONNECTION, skip_instance_cache=True
    )


def write(container, files):
    attempt("upload", lambda: container.upload_blob("sdk/small", b"small text", overwrite=True) is not None)
    settings = ContentSettings(content_type="application/x-py", cache_control="no-cache")
    attempt(
        "upload large",
        lambda: container.upload_blob(
            "sdk/large",
            some_bytes(5 * MIB + 17, 1),
            overwrite=True,
            content_settings=settings,
            metadata={"made": "python"},
            max_concurrency=2,
        )
        is not None,
    )
    attempt("exists already", lambda: container.upload_blob("sdk/small", b"again") is not None)
    blocks = container.get_blob_client("sdk/blocks")

    def stage():
        for i in range(3):
            blocks.stage_block(f"{i:06d}", some_bytes(MIB + i, i))
        blocks.commit_block_list([BlobBlock(f"{i:06d}") for i in (2, 0, 1)])
        return len(blocks.get_block_list("committed")[0])

    attempt("blocks", stage)
    attempt("tier", lambda: blocks.set_standard_blob_tier(StandardBlobTier.COOL))
    append = container.get_blob_client("sdk/log")
    attempt("append", lambda: append.create_append_blob() and append.append_block(b"line\n") and True)
    attempt("delete absent", lambda: container.delete_blob("sdk/absent"))

    def pipe():
        with files.open(f"{CONTAINER}/fs/file", "wb", block_size=4 * MIB) as out:
            out.write(some_bytes(3 * MIB, 7))
            out.write(b"the end")
        files.pipe_file(f"{CONTAINER}/fs/deep/er/piped", b"piped")
        files.pipe_file(f"{CONTAINER}/fs/spaced name +%", b"odd name")
        files.cp_file(f"{CONTAINER}/fs/deep/er/piped", f"{CONTAINER}/fs/copied")
        files.pipe_file(f"{CONTAINER}/fs/removed", b"x")
        files.rm_file(f"{CONTAINER}/fs/removed")
        return True

    attempt("files", pipe)

    def parquet():
        table(20_000).to_parquet(
            f"abfs://{CONTAINER}/tables/one.parquet", storage_options={"connection_string": CONNECTION}, index=False
        )
        table(100).to_csv(
            f"abfs://{CONTAINER}/tables/one.csv", storage_options={"connection_string": CONNECTION}, index=False
        )
        pyarrow.dataset.write_dataset(
            pyarrow.Table.from_pandas(table(3_000)),
            f"{CONTAINER}/tables/parts",
            filesystem=files,
            format="parquet",
            partitioning=["part"],
            existing_data_behavior="overwrite_or_ignore",
        )
        return True

    attempt("tables", parquet)


def read(container, files):
    def download(name, **options):
        return digest(container.download_blob(name, **options).readall())

    attempt("small", lambda: download("sdk/small"))
    attempt("large", lambda: download("sdk/large", max_concurrency=1))
    attempt("large, parallel", lambda: download("sdk/large", max_concurrency=3))
    attempt("part", lambda: download("sdk/large", offset=MIB - 3, length=MIB + 9))
    attempt("validated", lambda: download("sdk/small", validate_content=True))
    attempt("past the end", lambda: download("sdk/small", offset=100, length=5))
    attempt("blocks", lambda: download("sdk/blocks"))
    attempt("log", lambda: download("sdk/log"))
    attempt("absent", lambda: download("sdk/absent"))

    def properties(name):
        found = container.get_blob_client(name).get_blob_properties()
        content = found.content_settings
        return [found.size, found.blob_type, content.content_type, content.cache_control, found.metadata]

    for name in ("sdk/small", "sdk/large", "sdk/log", "sdk/absent"):
        attempt(f"properties of {name}", lambda name=name: properties(name))

    def conditions():
        blob = container.get_blob_client("sdk/small")
        etag = blob.get_blob_properties().etag
        return digest(blob.download_blob(etag=etag, match_condition=match("IfNotModified")).readall())

    def match(name):
        from azure.core import MatchConditions

        return getattr(MatchConditions, name)

    attempt("if match", conditions)
    attempt("list", lambda: [[blob.name, blob.size] for blob in container.list_blobs()])
    attempt("walk", lambda: [item.name for item in container.walk_blobs(name_starts_with="fs/")])
    attempt("ls", lambda: sorted(files.ls(f"{CONTAINER}/fs", detail=False)))
    attempt("find", lambda: sorted(files.find(CONTAINER)))
    attempt("glob", lambda: sorted(files.glob(f"{CONTAINER}/**/*.parquet")))
    attempt("cat", lambda: digest(files.cat_file(f"{CONTAINER}/fs/file")))
    attempt("cat range", lambda: digest(files.cat_file(f"{CONTAINER}/fs/file", start=MIB, end=MIB + 100)))
    attempt("odd name", lambda: files.cat_file(f"{CONTAINER}/fs/spaced name +%").decode())
    attempt("removed", lambda: files.cat_file(f"{CONTAINER}/fs/removed").decode())
    attempt("info", lambda: files.info(f"{CONTAINER}/fs/file")["size"])

    def seek():
        with files.open(f"{CONTAINER}/fs/file", "rb", block_size=65_536) as source:
            source.seek(2 * MIB)
            return digest(source.read(200_000) + source.read())

    attempt("seek", seek)
    options = {"connection_string": CONNECTION}
    one = f"abfs://{CONTAINER}/tables/one"
    attempt("parquet", lambda: frame(pandas.read_parquet(f"{one}.parquet", storage_options=options)))
    attempt(
        "two columns",
        lambda: frame(pandas.read_parquet(f"{one}.parquet", columns=["id", "value"], storage_options=options)),
    )
    attempt("csv", lambda: frame(pandas.read_csv(f"{one}.csv", storage_options=options)))

    def dataset():
        parts = pyarrow.dataset.dataset(f"{CONTAINER}/tables/parts", filesystem=files, partitioning=["part"])
        return [parts.count_rows(), parts.to_table(filter=pyarrow.dataset.field("part") == "p1").num_rows]

    attempt("dataset", dataset)

    def row_group():
        data = files.cat_file(f"{CONTAINER}/tables/one.parquet")
        return pyarrow.parquet.ParquetFile(io.BytesIO(data)).metadata.num_rows

    attempt("footer", row_group)


def frame(data):
    return [len(data), list(data.columns), digest(data.to_csv(index=False).encode())]


def main():
    container, files = clients()
    {"write": write, "read": read}[sys.argv[1]](container, files)
    print(json.dumps({"seen": seen, "verdicts": verdicts}))


main()
