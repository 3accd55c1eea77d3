# s3rver ignores conditions: the self-test must refuse it.
from_npm s3rver 3.7.1
mkdir "$scratch/s3rver"
background "$at/node_modules/.bin/s3rver" -d "$scratch/s3rver" -a 127.0.0.1 -p 0 \
    --configure-bucket rvlf-test
use_s3 "$(port_printed_after '127.0.0.1:')" S3RVER S3RVER
