"""The only room that imports Ray: conversion (Data), training (Train), sweeps (Tune)."""
