# The zone of the site. Its records are made by the cluster (external-dns), for the gateway's address is known there.
variable "domain" { type = string }

resource "aws_route53_zone" "site" {
  #checkov:skip=CKV2_AWS_38:DNSSEC needs the zone above to take part
  #checkov:skip=CKV2_AWS_39:queries tell of callers, and nobody needs them here
  name = var.domain
}

output "name_servers" { value = aws_route53_zone.site.name_servers }
