"""Resolves credentials with boto3's default chain and prints what came of it as one line of JSON."""

import json

try:
    import boto3

    credentials = boto3.Session().get_credentials()
    if credentials is None:
        print(json.dumps({"error": "no credentials found"}))
    else:
        print(json.dumps({"accessKeyId": credentials.get_frozen_credentials().access_key}))
except Exception as error:
    print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
