# Roles of a team's jobs. `rolegate audit` evaluates the plan before it is applied.

variable "issuer" {
  default = "oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE"
}

data "aws_caller_identity" "current" {}

locals {
  jobs = {
    nightly = "jobs:nightly"
    # A typo: the namespace is `jobs`.
    weekly = "job:weekly"
  }
}

resource "aws_iam_role" "job" {
  for_each = local.jobs
  name     = "job-${each.key}"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = "arn:aws:iam::${data.aws_caller_identity.current.account_id}:oidc-provider/${var.issuer}" }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = {
        StringEquals = {
          "${var.issuer}:sub" = "system:serviceaccount:${each.value}"
          "${var.issuer}:aud" = "sts.amazonaws.com"
        }
      }
    }]
  })
}
