# Two zones: nodes and databases in private subnets, which reach out through one gateway each.
variable "name" { type = string }
variable "cidr" { type = string }

data "aws_availability_zones" "here" {
  #checkov:skip=CKV_AWS_394:the first two by name are taken; a new zone changes nothing
  state = "available"
}

locals { zones = slice(data.aws_availability_zones.here.names, 0, 2) }

resource "aws_vpc" "site" {
  #checkov:skip=CKV2_AWS_11:flow logs belong to the account's own baseline
  cidr_block           = var.cidr
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
}

# No ingress by default.
resource "aws_default_security_group" "none" { vpc_id = aws_vpc.site.id }

resource "aws_subnet" "public" {
  count             = length(local.zones)
  vpc_id            = aws_vpc.site.id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet(var.cidr, 4, count.index)
  tags              = { Name = "${var.name}-public-${count.index}", "kubernetes.io/role/elb" = "1" }
}

resource "aws_subnet" "private" {
  count             = length(local.zones)
  vpc_id            = aws_vpc.site.id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet(var.cidr, 4, 8 + count.index)
  tags              = { Name = "${var.name}-private-${count.index}", "kubernetes.io/role/internal-elb" = "1" }
}

resource "aws_internet_gateway" "out" { vpc_id = aws_vpc.site.id }

resource "aws_eip" "out" {
  count  = length(local.zones)
  domain = "vpc"
}

resource "aws_nat_gateway" "out" {
  count         = length(local.zones)
  subnet_id     = aws_subnet.public[count.index].id
  allocation_id = aws_eip.out[count.index].id
  depends_on    = [aws_internet_gateway.out]
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.site.id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.out.id
  }
}

resource "aws_route_table" "private" {
  count  = length(local.zones)
  vpc_id = aws_vpc.site.id
  route {
    cidr_block     = "0.0.0.0/0"
    nat_gateway_id = aws_nat_gateway.out[count.index].id
  }
}

resource "aws_route_table_association" "public" {
  count          = length(local.zones)
  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public.id
}

resource "aws_route_table_association" "private" {
  count          = length(local.zones)
  subnet_id      = aws_subnet.private[count.index].id
  route_table_id = aws_route_table.private[count.index].id
}

output "vpc" { value = aws_vpc.site.id }
output "private_subnets" { value = aws_subnet.private[*].id }
