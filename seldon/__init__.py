"""The prediction service for Seldon Core, and its delivery to clusters.

What runs in the container: `launcher.py` is the entry point of the serving image and of local replicas; it serves the class of
`microservice.py` under Gunicorn. Seldon's own `seldon-core-microservice` can serve the same class. `v2_runtime.py` serves the same
package in MLServer, for `protocol: v2` and KServe. `model_server.py` serves several models in one process on a laptop, `graph_units.py` has
the units of an inference graph that are no model. `service/` holds their routes, `web/` the page.
What runs outside: `delivery/` renders manifests, applies them to a cluster, and rolls versions out.
"""
