# The load balancers' access log: client, request and response. The API's own access log is off by default
# (ACCESS_LOG=errors), and has no requests that never reached a task.

resource "aws_s3_bucket" "access_log" {
  # checkov:skip=CKV_AWS_18:this bucket is the log; CloudTrail records the reads of it
  # checkov:skip=CKV_AWS_21:each object has a unique name, is written once, and expires
  # checkov:skip=CKV_AWS_144:a log that is kept for weeks needs no second region
  # checkov:skip=CKV_AWS_145:the load balancer can write only with S3's own keys (SSE-S3)
  # checkov:skip=CKV2_AWS_62:nothing reacts to new objects
  bucket = "${var.name}-access-log-${data.aws_caller_identity.current.account_id}"
}

resource "aws_s3_bucket_public_access_block" "access_log" {
  bucket                  = aws_s3_bucket.access_log.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "access_log" {
  bucket = aws_s3_bucket.access_log.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "access_log" {
  bucket = aws_s3_bucket.access_log.id

  rule {
    id     = "expire"
    status = "Enabled"
    filter {}

    expiration {
      days = var.log_retention_days
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

resource "aws_s3_bucket_policy" "access_log" {
  bucket = aws_s3_bucket.access_log.id
  policy = data.aws_iam_policy_document.access_log.json
}

data "aws_iam_policy_document" "access_log" {
  statement {
    sid     = "Write"
    actions = ["s3:PutObject"]
    resources = [
      "${aws_s3_bucket.access_log.arn}/AWSLogs/${data.aws_caller_identity.current.account_id}/*",
      "${aws_s3_bucket.access_log.arn}/internal/AWSLogs/${data.aws_caller_identity.current.account_id}/*",
    ]
    principals {
      type        = "Service"
      identifiers = ["logdelivery.elasticloadbalancing.amazonaws.com"]
    }
    # Any load balancer of this account: the policy must exist before the load balancer, and part of its ARN is
    # unknown until then.
    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values = [
        "arn:aws:elasticloadbalancing:${var.region}:${data.aws_caller_identity.current.account_id}:loadbalancer/app/${var.name}/*",
        "arn:aws:elasticloadbalancing:${var.region}:${data.aws_caller_identity.current.account_id}:loadbalancer/app/${var.name}-internal/*",
      ]
    }
  }

  statement {
    sid       = "Encrypted"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.access_log.arn, "${aws_s3_bucket.access_log.arn}/*"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}
