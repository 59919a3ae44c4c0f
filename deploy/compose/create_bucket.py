"""Create the bucket of the artifact store where it is missing, with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""

import os

import boto3
from botocore.exceptions import ClientError

name = os.environ.get("IMAGELOOP_BUCKET") or "imageloop"
client = boto3.client("s3", endpoint_url=os.environ["IMAGELOOP_S3_URL"], region_name=os.environ.get("AWS_REGION") or "us-east-1")
try:
    client.head_bucket(Bucket=name)
except ClientError as error:
    if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
        raise SystemExit(f"error: expected the bucket '{name}', but the store refuses: {error}") from error
    client.create_bucket(Bucket=name)
