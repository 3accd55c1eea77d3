# moto, which Python programs test with: a second dialect of S3.
moto_server=$(command -v moto_server) || {
    from_pypi 'moto[s3,server]' 5.2.1
    moto_server=$at/bin/moto_server
}
background env PYTHONUNBUFFERED=1 "$moto_server" -H 127.0.0.1 -p 0
use_s3 "$(port_printed_after 'http:\/\/127.0.0.1:')"
until_it_succeeds make_bucket
