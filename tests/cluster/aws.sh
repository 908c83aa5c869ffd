#!/bin/sh
# The calls of the AWS CLI that the guides type, and no others. A role is a file of the ConfigMap that rolegate reads; its policy
# stands between the file's first line and its last.
set -eu

fail() {
    echo "aws: $1" >&2
    exit 254
}

[ "$1" = iam ] || fail "only iam is known here"
call=$2
shift 2
while [ $# -gt 0 ]; do
    case "$1" in
        --role-name) role=$2 ;;
        --assume-role-policy-document | --policy-document) policy=${2#file://} ;;
        --query) [ "$2" = Role.AssumeRolePolicyDocument ] || fail "only the policy can be asked for" ;;
        *) fail "unknown option $1" ;;
    esac
    shift 2
done

# The key that the harness gives to the role's ARN, too.
key="arn-aws-iam--111122223333-role-$role.json"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
kubectl get configmap roles --namespace rolegate-system --output "jsonpath={.data['${key%.json}\\.json']}" > "$folder/stored"

store() {
    {
        printf '{"Role": {"RoleName": "%s", "Arn": "arn:aws:iam::111122223333:role/%s", "AssumeRolePolicyDocument":\n' "$role" "$role"
        cat "$policy"
        printf '\n}}\n'
    } > "$folder/role"
    kubectl create configmap roles --dry-run=client --output json --from-file "$key=$folder/role" > "$folder/patch"
    kubectl patch configmap roles --namespace rolegate-system --type merge --patch-file "$folder/patch"
}

case "$call" in
    create-role)
        [ ! -s "$folder/stored" ] || fail "EntityAlreadyExists: $role"
        store
        ;;
    update-assume-role-policy)
        [ -s "$folder/stored" ] || fail "NoSuchEntity: $role"
        store
        ;;
    get-role)
        [ -s "$folder/stored" ] || fail "NoSuchEntity: $role"
        sed '1d;$d' "$folder/stored"
        ;;
    *) fail "unknown call $call" ;;
esac
