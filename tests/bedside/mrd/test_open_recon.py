"""The description that Open Recon reads: its rules (schema 1.1.0), and that the server keeps what it promises."""

import base64
import json
import re
from pathlib import Path

import pytest

from bedside.mrd.serve_cli import serve_mrd
from cinert.bundle import Bundle, open_bundle
from cinert.open_recon import CONFIGS, LABEL, describe_open_recon, open_recon_label, write_open_recon


@pytest.fixture
def bundle(make_bundle) -> Bundle:
    return open_bundle(make_bundle("ort"))


def test_it_keeps_the_rules(bundle: Bundle) -> None:
    """Closed sets of keys; versions of three numbers; names of letters and digits; texts in English."""
    document = describe_open_recon(bundle)

    assert set(document) == {"general", "reconstruction", "parameters"}
    general, reconstruction = document["general"], document["reconstruction"]
    assert set(general) == {"name", "version", "vendor", "information", "id", "regulatory_information"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", general["version"])
    assert set(general["regulatory_information"]) == {
        "device_trade_name",
        "production_identifier",
        "manufacturer_address",
        "made_in",
        "manufacture_date",
        "material_number",
        "gtin",
        "udi",
        "safety_advices",
        "special_operating_instructions",
        "additional_relevant_information",
    }
    assert all(isinstance(value, str) for value in general["regulatory_information"].values())
    assert reconstruction["transfer_protocol"] == {"protocol": "ISMRMRD", "version": "1.4.1"}
    assert (reconstruction["emitter"], reconstruction["injector"]) == ("image", "image")
    assert reconstruction["content_qualification_type"] == "RESEARCH"
    assert reconstruction["can_use_gpu"] is False
    assert reconstruction["min_count_required_gpus"] == 0
    for text in (general["name"], general["information"], *(each["label"] for each in document["parameters"])):
        assert set(text) == {"en"}
    for parameter in document["parameters"]:
        assert re.fullmatch(r"[A-Za-z0-9]+", parameter["id"])
        assert parameter["default"] in [value["id"] for value in parameter["values"]]


def test_the_server_keeps_what_it_promises(bundle: Bundle) -> None:
    document = describe_open_recon(bundle)

    (port,) = (option.default for option in serve_mrd.params if option.name == "port")
    assert document["reconstruction"]["port"] == port
    (config,) = document["parameters"]
    assert {value["id"] for value in config["values"]} <= set(CONFIGS)


def test_the_label_is_the_file(bundle: Bundle, tmp_path: Path) -> None:
    write_open_recon(tmp_path / "open-recon.json", bundle)

    line = open_recon_label(bundle)

    name, text = re.fullmatch(r'LABEL "(.*?)"="(.*)"', line).groups()
    assert name == LABEL
    assert json.loads(base64.b64decode(text)) == json.loads((tmp_path / "open-recon.json").read_text())
