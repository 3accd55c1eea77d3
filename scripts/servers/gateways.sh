# Two gateways for S3 on one SeaweedFS: a condition must also hold between them.
source scripts/servers/seaweedfs.bash
start_seaweedfs
read -r port grpc iceberg lance <<<"$(free_ports 4)"
# A gateway that finds credentials in its environment demands them.
background env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY "$weed" s3 \
    -filer="127.0.0.1:$filer.$filer_grpc" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -port="$port" -port.grpc="$grpc" -port.iceberg="$iceberg" -port.lance="$lance"
export RVLF_TEST_SECOND_ENDPOINT=http://127.0.0.1:$port
AWS_ENDPOINT=$RVLF_TEST_SECOND_ENDPOINT until_it_succeeds make_bucket
