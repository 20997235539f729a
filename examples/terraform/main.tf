# A rule of Tandem as a Terraform resource. First deploy Tandem's stack in the provider's region.
#
#   terraform init
#   terraform apply -var source_bucket=photos -var destination_bucket=photos-replica

terraform {
  required_version = ">= 1.4"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.1" # lifecycle_scope
    }
  }
}

variable "tandem_stack" {
  description = "The name of Tandem's stack."
  type        = string
  default     = "tandem"
}

variable "source_bucket" {
  description = "The source bucket."
  type        = string
}

variable "destination_bucket" {
  description = "The destination bucket, in another region."
  type        = string
}

# If a bucket changes, Terraform replaces the resource instead of changing it, because the rule is another one.
resource "terraform_data" "pair" {
  input = [var.source_bucket, var.destination_bucket]
}

resource "aws_lambda_invocation" "replication" {
  function_name   = "${var.tandem_stack}-configure-rule"
  lifecycle_scope = "CRUD"

  # The fields of "create" in docs/contract.md, without the action: Terraform sends that in "tf". A field that is left
  # out has its default, even if it had another value before.
  input = jsonencode({
    source      = var.source_bucket
    destination = var.destination_bucket
    scope       = "all" # or { prefixes = ["2025/", "2026/"] }
    policy      = "full"
    historical  = true
    options = {
      storage_class = "keep"
      tags          = true
    }
  })

  lifecycle {
    replace_triggered_by = [terraform_data.pair]
  }
}

output "rule_id" {
  description = "The rule's id, for the tandem command."
  value       = jsondecode(aws_lambda_invocation.replication.result).rule.id
}
