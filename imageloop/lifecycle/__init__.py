"""Use cases that join the core, the records and the adapters: champion, promotion, feedback, measurement, rollback."""
