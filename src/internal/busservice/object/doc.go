// SPDX-License-Identifier: Apache-2.0

// Package object is the common part of services as objects on a bus: tables of methods and
// properties, their introspection, and the hook by which godbus passes all calls to a service.
package object
