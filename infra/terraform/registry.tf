resource "aws_ecr_repository" "service" {
  # checkov:skip=CKV_AWS_51:`latest` and `buildcache` move; deployments use the digest, which cannot
  for_each             = toset(["api", "worker"])
  name                 = "${var.name}/${each.key}"
  image_tag_mutability = "MUTABLE"

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = aws_kms_key.main.arn
  }
}

# Keeps enough images for rollbacks. The first rule that matches an image's tags applies: the image that the
# API's workflow pushes for its setup has its own tag, so that it does not displace the worker's images.
resource "aws_ecr_lifecycle_policy" "service" {
  for_each   = aws_ecr_repository.service
  repository = each.value.name
  policy = jsonencode({
    rules = [
      {
        rulePriority = 1
        description  = "what lost its tag"
        selection    = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = 14 }
        action       = { type = "expire" }
      },
      {
        rulePriority = 2
        description  = "setups, which run once, at their deploy"
        selection    = { tagStatus = "tagged", tagPatternList = ["setup-*"], countType = "imageCountMoreThan", countNumber = 20 }
        action       = { type = "expire" }
      },
      {
        rulePriority = 3
        description  = "all but the last hundred, with the setups among them"
        selection    = { tagStatus = "tagged", tagPatternList = ["*"], countType = "imageCountMoreThan", countNumber = 120 }
        action       = { type = "expire" }
      },
    ]
  })
}
