//go:build !linux

package localserver

func memoryDir() (string, bool) { return "", false }
