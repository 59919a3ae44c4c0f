"""Batch prediction: any number of images to Parquet files, part by part; what was interrupted goes on."""
