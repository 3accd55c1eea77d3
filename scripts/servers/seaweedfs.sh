# SeaweedFS with one gateway for S3.
source scripts/servers/seaweedfs.bash
start_seaweedfs
