// SPDX-License-Identifier: Apache-2.0

package source

// ProgressOf returns a function that returns the progress of reading a source from the
// present position to its end: entries of a Store, bytes of files. The total is 0 if
// unknown.
func ProgressOf(src Source) func() (done, total int64) {
	switch s := src.(type) {
	case Store:
		newest, oldest, err := s.Ends()
		if err != nil {
			break // reading reports it
		}
		begin := uint64(0)
		return func() (done, total int64) {
			at := s.Sequence()
			if begin == 0 {
				begin = max(at, oldest.Sequence)
			}
			return int64(max(at, begin) - begin), int64(max(newest.Sequence, begin) - begin)
		}
	case Sized:
		return s.Progress
	}
	return func() (done, total int64) { return 0, 0 }
}
