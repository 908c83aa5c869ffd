// Command sdk resolves credentials with the default chain of the AWS SDK for Go and prints what came of it as one line of JSON.
package main

import (
	"context"
	"encoding/json"
	"os"

	"github.com/aws/aws-sdk-go-v2/config"
)

func main() {
	result := map[string]string{}
	if key, err := resolve(context.Background()); err != nil {
		result["error"] = err.Error()
	} else {
		result["accessKeyId"] = key
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		os.Exit(1)
	}
}

func resolve(ctx context.Context) (string, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return "", err
	}
	credentials, err := cfg.Credentials.Retrieve(ctx)
	return credentials.AccessKeyID, err
}
