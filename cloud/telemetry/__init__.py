"""Telemetry: windows that devices measured, rolled up; metrics for Prometheus; traces for OpenTelemetry."""
