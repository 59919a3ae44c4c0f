"""The prediction service for Seldon Core, and its delivery to clusters.

What runs in the container: `launcher.py` is the entry point of the serving image and of local replicas; it serves the class of
`microservice.py` under Gunicorn. Seldon's own `seldon-core-microservice` can serve the same class. `v2_runtime.py` serves the same
package in MLServer, for `protocol: v2` and KServe. `service/` holds their routes, `web/` the page.
What runs outside: `delivery/` renders manifests, applies them to a cluster, and rolls versions out.
"""
