"""Runs featvec against servers of object stores on this machine: S3, Google's and Azure's.

    python3 tools/stores/run.py

Makes an environment in target/stores, from PyPI (moto) and npm (azurite), and goes on in it. S3 is moto; gs:// is moto
too, of which Google's XML interface, the one that featvec speaks, is a relative, so that addresses and the variable
STORAGE_EMULATOR_HOST are proven and Google's credentials are not; Azure is azurite. Each gets 1 100 objects, which are
more than a page, with names that need encoding among them, and a shard of 32 MB; crates/featvec-collections/tests/stores.rs
then lists, fetches, streams and seeks, and compares all bytes. Prints versions and figures.
"""

import contextlib
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import environment  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SCRATCH = ROOT / "target/stores"
AZURITE = "azurite@3.35.0"
# The account that azurite always has; the key is published with it.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def install_azurite():
    npm = ["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", SCRATCH, AZURITE]
    subprocess.run(npm, check=True)


def make_data():
    folder = SCRATCH / "data"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "photos").mkdir(parents=True)
    source = random.Random(5)
    for number in range(1100):
        name = f"{number:04} ü+%20&'.jpg" if number % 100 == 0 else f"{number:04}.jpg"
        (folder / "photos" / name).write_bytes(source.randbytes(source.randrange(1000, 60_000)))
    (folder / "shard.tar").write_bytes(source.randbytes(32_000_000))
    return folder


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def server(command, port):
    with open(SCRATCH / "server.log", "a") as log:
        process = subprocess.Popen([*map(str, command)], stdout=log, stderr=log)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def files(folder):
    return [(str(path.relative_to(folder)), path) for path in sorted(folder.rglob("*")) if path.is_file()]


def test(store, folder, variables):
    """Runs the test with these variables and no others of stores."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "GOOGLE_", "AZURE_", "STORAGE_"))}
    own = variables | {"FEATVEC_STORE": store, "FEATVEC_STORE_FOLDER": str(folder)}
    cargo = ["cargo", "test", "-q", "--locked", "-p", "featvec-collections", "--test", "stores", "--", "--nocapture"]
    subprocess.run(cargo, cwd=ROOT, env=inherited | own, check=True)


def s3_and_google(folder):
    import boto3

    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    with server([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port], port):
        keys = {"aws_access_key_id": "ID", "aws_secret_access_key": "SECRET"}
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
        client.create_bucket(Bucket="pictures", ACL="public-read")
        for name, path in files(folder):
            client.put_object(Bucket="pictures", Key="set/" + name, Body=path.read_bytes(), ACL="public-read")
        keys = {"AWS_ACCESS_KEY_ID": "ID", "AWS_SECRET_ACCESS_KEY": "SECRET"}
        missing = {"FEATVEC_STORE_PRIVATE": "s3://no-such-bucket/a.jpg"}
        test("s3://pictures/set/", folder, keys | missing | {"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": "us-east-1"})
        # Nobody in particular.
        test("s3://pictures/set/", folder, {"AWS_ENDPOINT_URL_S3": endpoint, "AWS_EC2_METADATA_DISABLED": "true"})
        test("gs://pictures/set/", folder, {"STORAGE_EMULATOR_HOST": f"127.0.0.1:{port}"})


def azure(folder):
    from azure.storage.blob import ContainerClient

    port = free_port()
    command = [SCRATCH / "node_modules/.bin/azurite-blob", "--silent", "--skipApiVersionCheck", "--inMemoryPersistence"]
    with server([*command, "--blobHost", "127.0.0.1", "--blobPort", port], port):
        endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
        client = ContainerClient(endpoint, "pictures", credential=KEY)
        client.create_container()
        for name, path in files(folder):
            client.upload_blob("set/" + name, path.read_bytes())
        account = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ENDPOINT": endpoint}
        private = {"FEATVEC_STORE_PRIVATE": "az://no-such-container/a.jpg"}
        test("az://pictures/set/", folder, account | private | {"AZURE_STORAGE_ACCOUNT_KEY": KEY})


def main():
    environment.enter(SCRATCH / "venv", HERE / "requirements.txt", install_azurite)
    versions = subprocess.run([sys.executable, "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
    print(" ".join(line for line in versions.splitlines() if line.startswith(("moto ", "boto3 ", "azure-storage"))), AZURITE)
    folder = make_data()
    s3_and_google(folder)
    azure(folder)


if __name__ == "__main__":
    main()
