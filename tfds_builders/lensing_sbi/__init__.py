"""The data set `lensing_sbi`."""
