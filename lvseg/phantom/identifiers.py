"""Unmistakable personal data for the headers, so that a test can search every output for them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pydicom.dataset import Dataset

__all__ = ["Person", "planted_identifiers"]

_UID_ROOT = "1.2.826.0.1.3680043.10.99999"
_LETTERS = "BDFGKLMNPRSTVWXZ"
_DIGITS_OF_UID = 18


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """Made-up personal data of one patient."""

    family_name: str
    given_name: str
    patient_id: str
    birth_date: str
    study_date: str
    accession_number: str
    study_id: str
    address: str
    telephone: str
    referring_physician: str
    operator: str
    institution: str
    station: str
    device_serial_number: str
    uid_root: str
    """Every UID of the patient starts with it."""

    @classmethod
    def draw(cls, number: int, seed: int) -> Person:
        """The person behind patient ``number`` (from 1) of a phantom."""
        digest = hashlib.sha256(f"{seed} {number}".encode()).digest()
        word = "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:8])
        code = int.from_bytes(digest[8:12], "big") % 10**8
        return cls(
            family_name=f"Zq{word[:6].lower()}ovitch",
            given_name=f"Xy{word[2:].lower()}ella",
            patient_id=f"MRN{code:08d}{word[:3]}",
            birth_date=f"{1901 + code % 17}{1 + code % 12:02d}{1 + code % 28:02d}",
            study_date=f"{1971 + code % 9}{1 + code % 11:02d}{1 + code % 27:02d}",
            accession_number=f"ACC{word[:5]}{code % 10**5:05d}",
            study_id=f"STU{word[3:7]}{code % 1000:03d}",
            address=f"{code % 1000} {word.title()}straat",
            telephone=f"+99-{code:08d}",
            referring_physician=f"Referrer{word[1:7].lower()}",
            operator=f"Operator{word[2:8].lower()}",
            institution=f"Hospital of Saint {word.title()}",
            station=f"MR{word[:6]}",
            device_serial_number=f"SER{code:08d}",
            uid_root=f"{_UID_ROOT}.{code}",
        )

    @property
    def name(self) -> str:
        """PatientName as DICOM writes it."""
        return f"{self.family_name}^{self.given_name}"

    @property
    def folder(self) -> str:
        """A folder named after the person, as exports have it."""
        return f"{self.family_name}_{self.given_name}"

    def uid(self, entropy: str) -> str:
        """A UID under this person's root."""
        value = int.from_bytes(hashlib.sha256(entropy.encode()).digest(), "big") % 10**_DIGITS_OF_UID
        return f"{self.uid_root}.{value}"

    def describe(self, dataset: Dataset) -> None:
        """Write the personal data into a header."""
        dataset.PatientName = self.name
        dataset.PatientID = self.patient_id
        dataset.OtherPatientIDs = self.patient_id
        dataset.PatientBirthDate = self.birth_date
        dataset.PatientAddress = self.address
        dataset.PatientTelephoneNumbers = self.telephone
        dataset.PatientComments = f"{self.given_name} {self.family_name}"
        dataset.StudyID = self.study_id
        dataset.StudyDescription = f"Heart of {self.family_name}"
        dataset.SeriesDescription = f"SAX {self.family_name}"
        dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = dataset.AcquisitionDate = self.study_date
        dataset.AccessionNumber = self.accession_number
        dataset.ReferringPhysicianName = self.referring_physician
        dataset.OperatorsName = self.operator
        dataset.InstitutionName = self.institution
        dataset.InstitutionAddress = self.address
        dataset.StationName = self.station
        dataset.DeviceSerialNumber = self.device_serial_number

    def strings(self) -> list[str]:
        """Everything that must not be found in an output."""
        return [
            self.family_name,
            self.given_name,
            self.patient_id,
            self.birth_date,
            self.study_date,
            self.accession_number,
            self.study_id,
            self.address,
            self.telephone,
            self.referring_physician,
            self.operator,
            self.institution,
            self.station,
            self.device_serial_number,
            self.uid_root,
        ]


def planted_identifiers(patients: int, seed: int) -> list[str]:
    """Every personal string in the headers and folder names of ``write_phantom(…, identifiers=True)``."""
    strings = (string for number in range(1, patients + 1) for string in Person.draw(number, seed).strings())
    return list(dict.fromkeys(strings))
