# Azurite, the emulator of Azure Blob Storage. Its account and key are public, and the same everywhere.
from_npm azurite 3.37.0
background "$at/node_modules/.bin/azurite-blob" --blobHost 127.0.0.1 --blobPort 0 \
    --inMemoryPersistence --disableTelemetry --skipApiVersionCheck --silent
port=$(port_printed_after 'listens on http:\/\/127.0.0.1:')
export AZURITE_BLOB_STORAGE_URL=http://127.0.0.1:$port AZURE_STORAGE_USE_EMULATOR=true AZURE_ALLOW_HTTP=true
export RVLF_TEST_URL=az://rvlf-test
python3 scripts/servers/make_container.py "$AZURITE_BLOB_STORAGE_URL" rvlf-test
