{"msg":"send_hash"}
{"msg":"estimation","rank":0,"queue_size":1,"avg_event_process_time":0.039297640323638916,"avg_event_concurrent_process_time":0.009824410080909729,"rank_eta":0.039297640323638916,"queue_eta":0.0}
{"msg":"send_data"}
{"msg":"process_starts"}
{"msg":"progress","progress_data":[{"index":0,"length":3,"unit":"parts","progress":null,"desc":"working"}]}
{"msg":"progress","progress_data":[{"index":1,"length":3,"unit":"parts","progress":null,"desc":"working"}]}
{"msg":"progress","progress_data":[{"index":2,"length":3,"unit":"parts","progress":null,"desc":"working"}]}
{"msg":"process_completed","output":{"data":["done"],"is_generating":false,"duration":0.4510505199432373,"average_duration":0.45128711064656574},"success":true}
