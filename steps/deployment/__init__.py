"""Steps from a registered version to a served one."""
