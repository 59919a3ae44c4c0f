# Artifacts, packages and raw images: private, encrypted, every version kept for a while.
variable "name" { type = string }
variable "key_arn" { type = string }

resource "aws_s3_bucket" "site" {
  #checkov:skip=CKV_AWS_18:access is logged by the account's CloudTrail, where enabled
  #checkov:skip=CKV_AWS_144:one region; old versions are kept, and images are in their DVC remote too
  #checkov:skip=CKV2_AWS_62:nothing waits for events of this bucket
  bucket = var.name
}

resource "aws_s3_bucket_public_access_block" "site" {
  bucket                  = aws_s3_bucket.site.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "site" {
  bucket = aws_s3_bucket.site.id
  versioning_configuration { status = "Enabled" }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "site" {
  bucket = aws_s3_bucket.site.id
  rule {
    bucket_key_enabled = true
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.key_arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "site" {
  bucket = aws_s3_bucket.site.id
  rule {
    id     = "forget"
    status = "Enabled"
    filter {}
    noncurrent_version_expiration { noncurrent_days = 90 }
    abort_incomplete_multipart_upload { days_after_initiation = 7 }
  }
}

output "name" { value = aws_s3_bucket.site.id }
output "arn" { value = aws_s3_bucket.site.arn }
