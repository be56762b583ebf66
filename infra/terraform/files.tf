# The files of videos. Their names are their SHA-256, so an object is written once or again with the same content. The
# task `files-expire` deletes those that no video has had for FILES_RETENTION.

locals {
  files = { FILES_URL = "s3://${aws_s3_bucket.files.id}/${local.files_prefix}", AWS_REGION = var.region }
  # Of the services that use them: which may write.
  files_prefix = "videos"
  files_rights = { placement-service = local.read_files, placement-worker = concat(local.read_files, local.write_files) }
  read_files   = ["s3:GetObject"]
  write_files  = ["s3:PutObject", "s3:DeleteObject"]
}

resource "aws_s3_bucket" "files" {
  # checkov:skip=CKV_AWS_18:services read it with a role of their own; CloudTrail records what else does
  # checkov:skip=CKV_AWS_21:an object's name is the hash of its content: no version ever differs from another
  # checkov:skip=CKV_AWS_144:the files can be made anew from the database (docs/operations.md)
  # checkov:skip=CKV2_AWS_62:nothing reacts to new objects
  bucket = "${var.name}-files-${data.aws_caller_identity.current.account_id}"
}

resource "aws_s3_bucket_public_access_block" "files" {
  bucket                  = aws_s3_bucket.files.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "files" {
  bucket = aws_s3_bucket.files.id

  rule {
    bucket_key_enabled = true
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.main.arn
    }
  }
}

# Nothing expires by its age: a file that has not changed for years is still the file.
resource "aws_s3_bucket_lifecycle_configuration" "files" {
  bucket = aws_s3_bucket.files.id

  rule {
    id     = "abort"
    status = "Enabled"
    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

resource "aws_s3_bucket_policy" "files" {
  bucket = aws_s3_bucket.files.id
  policy = data.aws_iam_policy_document.files_bucket.json
}

data "aws_iam_policy_document" "files_bucket" {
  statement {
    sid       = "Encrypted"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.files.arn, "${aws_s3_bucket.files.arn}/*"]
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

resource "aws_iam_role_policy" "files" {
  for_each = local.files_rights
  name     = "files"
  role     = module.service[each.key].task_role_name
  policy   = data.aws_iam_policy_document.files[each.key].json
}

data "aws_iam_policy_document" "files" {
  for_each = local.files_rights

  statement {
    sid       = "Objects"
    actions   = each.value
    resources = ["${aws_s3_bucket.files.arn}/${local.files_prefix}/*"]
  }
  # Without the right to list, S3 says of an object that is not there that it may not be read. It has no condition on
  # s3:prefix: GET and HEAD of an object have no prefix, so they would get 403 instead of 404. The bucket has only files.
  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.files.arn]
  }
  statement {
    sid       = "Key"
    actions   = contains(each.value, "s3:PutObject") ? ["kms:Decrypt", "kms:GenerateDataKey"] : ["kms:Decrypt"]
    resources = [aws_kms_key.main.arn]
    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${var.region}.amazonaws.com"]
    }
  }
}
