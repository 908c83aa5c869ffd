// Resolves credentials with the default chain of a client and prints what came of it as one line of JSON.

import { readFileSync } from "node:fs";
import tls from "node:tls";

// Node.js has its own list of certificate authorities. This one is that of the image, without a variable that the container does not have.
const create = tls.createSecureContext;
tls.createSecureContext = (options) => {
  const secure = create(options);
  secure.context.addCACert(readFileSync("/etc/ssl/certs/ca-certificates.crt"));
  return secure;
};

try {
  const { STSClient } = await import("@aws-sdk/client-sts");
  const { accessKeyId } = await new STSClient({}).config.credentials();
  console.log(JSON.stringify({ accessKeyId }));
} catch (error) {
  console.log(JSON.stringify({ error: `${error.name}: ${error.message}` }));
}
process.exit(0);
