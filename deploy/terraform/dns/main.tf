# The zone of the site. The cluster (external-dns) creates its records, as it knows the gateway's address.
variable "domain" { type = string }

resource "aws_route53_zone" "site" {
  #checkov:skip=CKV2_AWS_38:DNSSEC needs the zone above to take part
  #checkov:skip=CKV2_AWS_39:query logs identify callers, and are not needed here
  name = var.domain
}

output "name_servers" { value = aws_route53_zone.site.name_servers }
