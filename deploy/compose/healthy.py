#!/usr/bin/env python3
"""Check the health of the service through its gateway."""

import os
import urllib.request

url = f"http://127.0.0.1:{os.environ.get('IMAGELOOP_GATEWAY_PORT') or 8080}/seldon/default/imageloop/health/status"
urllib.request.urlopen(urllib.request.Request(url, headers={"X-API-Key": os.environ["IMAGELOOP_API_KEY"]}), timeout=3)
