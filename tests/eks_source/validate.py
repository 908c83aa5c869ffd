"""Calls the stand-in with boto3's client of EKS, and compares its answers with the service model.

Reads a list of `[operation, parameters]` from standard input. Prints for each what the client has parsed, or the code of the error, and
everything in which the answer differs from the model.
"""

import json
import sys

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError


def differences(shape, value, path):
    """What a shape of the model does not allow."""
    kind = shape.type_name
    if kind == "structure":
        if not isinstance(value, dict):
            return [f"{path}: not an object"]
        members = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        found = [f"{path}: no member {name}" for name in value if name not in members]
        found += [f"{path}: {name} is missing" for name in shape.required_members if name not in value]
        for name, content in value.items():
            if name in members:
                found += differences(members[name], content, f"{path}.{name}")
        return found
    if kind == "list":
        if not isinstance(value, list):
            return [f"{path}: not a list"]
        return [found for index, one in enumerate(value) for found in differences(shape.member, one, f"{path}[{index}]")]
    if kind == "map":
        if not isinstance(value, dict):
            return [f"{path}: not a map"]
        return [found for key, one in value.items() for found in differences(shape.value, one, f"{path}.{key}")]
    types = {"string": str, "boolean": bool, "timestamp": (int, float), "integer": int, "long": int}
    if not isinstance(value, types[kind]):
        return [f"{path}: not a {kind}"]
    return []


def main():
    endpoint = sys.argv[1]
    session = botocore.session.Session()
    client = session.create_client(
        "eks",
        region_name="us-west-2",
        endpoint_url=endpoint,
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
        aws_secret_access_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=10),
    )
    raw = []

    def keep(response_dict, operation_model, **_):
        raw.append((response_dict["status_code"], response_dict["headers"], response_dict["body"], operation_model))

    client.meta.events.register("before-parse.eks.*", keep)
    results = []
    for operation, parameters in json.load(sys.stdin):
        raw.clear()
        result = {}
        try:
            result["parsed"] = getattr(client, operation)(**parameters)
            result["parsed"].pop("ResponseMetadata")
        except ClientError as error:
            result["code"] = error.response["Error"]["Code"]
        status, headers, body, model = raw[0]
        shape = model.output_shape
        if "code" in result:
            modeled = {error.name: error for error in model.error_shapes}
            shape = modeled.get(result["code"])
            if shape is None:
                result["differences"] = [f"{result['code']} is not an error of {model.name}"]
            elif shape.metadata["error"]["httpStatusCode"] != status:
                result["differences"] = [f"status {status} for {result['code']}"]
        if shape is not None:
            result.setdefault("differences", []).extend(differences(shape, json.loads(body), "$"))
        results.append(result)
    json.dump(results, sys.stdout, default=lambda value: value.timestamp())


main()
